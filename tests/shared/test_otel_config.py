"""[otel]: which exporters there are, where their secrets come from, and what is refused at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.config import Config, load
from shared.errors import ConfigError


def read(home: Path, text: str, **environ: str) -> Config:
    (home / "config.toml").write_text(f"[otel]\n{text}\n")
    return load(home, environ)


def test_nothing_goes_anywhere_by_default(tmp_path: Path) -> None:
    otel = read(tmp_path, "").otel

    assert not otel.exports
    assert (otel.environment, otel.log_user_prompt, otel.log_tool_output) == ("dev", False, True)


def test_a_header_takes_its_secret_from_the_environment_and_shows_it_to_nobody(tmp_path: Path) -> None:
    text = 'exporter = { otlp-http = { endpoint = "http://h/v1/logs", headers = { x-key = "Bearer ${KEY}" } } }'

    config = read(tmp_path, text, KEY="hush-hush")

    assert config.otel.exporter is not None
    assert config.otel.exporter.headers == {"x-key": "Bearer hush-hush"}
    assert "hush-hush" not in repr(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('exporter = { otlp-http = { endpoint = "http://h", headers = { k = "${NONE_SUCH}" } } }', "no NONE_SUCH"),
        ('exporter = "otlp-http"', "otel.exporter: expected"),
        ('exporter = "elsewhere"', "otel.exporter: expected one of none, otlp-http, otlp-grpc"),
        ("exporter = {}", "otel.exporter: expected"),
        ('trace_exporter = { otlp-grpc = { endpoint = "h:4317" } }', "otel.trace_exporter.otlp-grpc.endpoint"),
        ('exporter = { otlp-http = { endpoint = "http://h", protocol = "xml" } }', "binary, json"),
        ('exporter = { otlp-grpc = { endpoint = "https://h", tls = { ca-certificate = "no.pem" } } }', "a file"),
        ('exporter = { otlp-http = { endpoint = "http://h", headers = { k = "${BAD}" } } }', "headers.k"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start_without_telling_a_secret(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, text, BAD="hush\nhush")

    assert told in str(refusal.value)
    assert "hush" not in str(refusal.value)
