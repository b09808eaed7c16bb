"""[otel]: exporters, their secrets from the environment, and errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.config import Config, load
from shared.errors import ConfigError


def read(home: Path, text: str, **environ: str) -> Config:
    (home / "config.toml").write_text(f"[otel]\n{text}\n")
    return load(home, environ)


def test_nothing_is_exported_by_default(tmp_path: Path) -> None:
    otel = read(tmp_path, "").otel

    assert not otel.exports
    assert (otel.environment, otel.log_user_prompt, otel.log_tool_output) == ("dev", False, True)


def test_a_header_gets_its_secret_from_the_environment_and_repr_hides_it(tmp_path: Path) -> None:
    text = 'exporter = { otlp-http = { endpoint = "http://h/v1/logs", headers = { x-key = "Bearer ${KEY}" } } }'

    config = read(tmp_path, text, KEY="hush-hush")

    assert config.otel.exporter is not None
    assert config.otel.exporter.headers == {"x-key": "Bearer hush-hush"}
    assert "hush-hush" not in repr(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'exporter = { otlp-http = { endpoint = "http://h", headers = { k = "${NONE_SUCH}" } } }',
            "otel.exporter.otlp-http.headers.k: expected the environment variable NONE_SUCH to be set",
        ),
        ('exporter = "otlp-http"', "otel.exporter: expected"),
        ('exporter = "elsewhere"', "otel.exporter: expected one of none, otlp-http, otlp-grpc"),
        ("exporter = {}", "otel.exporter: expected"),
        ('trace_exporter = { otlp-grpc = { endpoint = "h:4317" } }', "otel.trace_exporter.otlp-grpc.endpoint"),
        ('exporter = { otlp-http = { endpoint = "http://h", protocol = "xml" } }', "binary, json"),
        ('exporter = { otlp-grpc = { endpoint = "https://h", tls = { ca-certificate = "no.pem" } } }', "a file"),
        ('exporter = { otlp-http = { endpoint = "http://h", headers = { k = "${BAD}" } } }', "headers.k"),
    ],
)
def test_a_wrong_exporter_is_an_error_that_quotes_no_secret(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, text, BAD="hush\nhush")

    assert message in str(refusal.value)
    assert "hush" not in str(refusal.value)
