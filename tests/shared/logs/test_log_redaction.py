"""Log lines contain no secret, whichever handler writes them."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.config import load
from shared.config.feedback import redaction
from shared.logs import log_redaction

CANARY = "sk-canary-0123456789abcdefghij"
CONFIG = """
model = "m"
model_provider = "mine"
[model_providers.mine]
base_url = "http://127.0.0.1:1/v1"
env_key = "MODEL_KEY"
[otel]
exporter = { otlp-http = { endpoint = "http://127.0.0.1:1/v1/logs", headers = { x-token = "Bearer collector+word" } } }
[auth]
issuer = "us"
audience = "threadhouse"
jwt_secret_file = "jwt.secret"
[[webhooks]]
url = "https://hooks.example/in"
secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
[workspaces.credentials.forge]
host = "git.example"
users = ["*"]
token_env = "FORGE_TOKEN"
"""
ENVIRON = {
    "MODEL_KEY": "model+word+1",
    "FORGE_TOKEN": "forge+word+1",
    "THREADHOUSE_DATABASE_URL": "postgresql://me:data%2Fbase@127.0.0.1/x",
    "THREADHOUSE_REDIS_URL": "redis://:red+word@127.0.0.1:1/0",
}
SECRETS = (
    "model+word+1", "forge+word+1", "Bearer collector+word", "collector+word", "jwt+word+" * 5, "data%2Fbase",
    "data/base", "red+word", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
)  # fmt: skip


@pytest.fixture
def output(tmp_path: Path) -> Iterator[io.StringIO]:
    """The output of a handler that was added before redaction was installed."""
    (tmp_path / "config.toml").write_text(CONFIG)
    (tmp_path / "jwt.secret").write_text("jwt+word+" * 5 + "\n")
    before, written = logging.getLogRecordFactory(), io.StringIO()
    handler = logging.StreamHandler(written)
    logging.getLogger().addHandler(handler)
    log_redaction.install(redaction(load(tmp_path, ENVIRON)))
    yield written
    logging.setLogRecordFactory(before)
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("secret", SECRETS)
def test_each_secret_of_the_configuration_is_redacted(output: io.StringIO, secret: str) -> None:
    logging.getLogger("workers.agent.x").warning("it says %s.", secret)

    assert output.getvalue() == "it says [REDACTED].\n"


def test_a_traceback_is_redacted_with_its_message(output: io.StringIO) -> None:
    try:
        raise ValueError(f"no such key: {CANARY}")
    except ValueError:
        logging.getLogger("api.transport.dispatch").exception("failed over %s", CANARY)

    assert CANARY not in output.getvalue()
    assert output.getvalue().startswith("failed over [REDACTED]\nTraceback ")
    assert "ValueError: no such key: [REDACTED]" in output.getvalue()


def test_lines_of_other_libraries_are_redacted_from_warning_on(output: io.StringIO) -> None:
    for level in (logging.INFO, logging.ERROR):
        logger = logging.getLogger("celery.worker")
        logger.setLevel(logging.INFO)
        logger.log(level, "%s", CANARY)

    assert output.getvalue() == f"{CANARY}\n[REDACTED]\n"


def test_a_line_whose_arguments_do_not_match_is_written_without_them(output: io.StringIO) -> None:
    logging.getLogger("api.x").warning("%d %d", CANARY)

    assert output.getvalue() == "%d %d [arguments do not match]\n"
