"""Log lines: what a process says of itself holds no secret, whoever writes it down."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import log_redaction
from shared.config import load
from shared.feedback import redaction

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
def said(tmp_path: Path) -> Iterator[io.StringIO]:
    """All that a handler writes down which was there before anything was redacted."""
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
def test_each_secret_of_the_configuration_is_known(said: io.StringIO, secret: str) -> None:
    logging.getLogger("workers.agent.x").warning("it says %s.", secret)

    assert said.getvalue() == "it says [REDACTED].\n"


def test_a_traceback_is_redacted_with_its_line(said: io.StringIO) -> None:
    try:
        raise ValueError(f"no such key: {CANARY}")
    except ValueError:
        logging.getLogger("api.dispatch").exception("failed over %s", CANARY)

    assert CANARY not in said.getvalue()
    assert said.getvalue().startswith("failed over [REDACTED]\nTraceback ")
    assert "ValueError: no such key: [REDACTED]" in said.getvalue()


def test_what_others_warn_of_is_redacted_and_what_they_chat_about_is_left_alone(said: io.StringIO) -> None:
    for level in (logging.INFO, logging.ERROR):
        logger = logging.getLogger("celery.worker")
        logger.setLevel(logging.INFO)
        logger.log(level, "%s", CANARY)

    assert said.getvalue() == f"{CANARY}\n[REDACTED]\n"


def test_a_line_whose_arguments_do_not_fit_is_written_without_them(said: io.StringIO) -> None:
    logging.getLogger("api.x").warning("%d %d", CANARY)

    assert said.getvalue() == "%d %d [what belongs in here does not fit]\n"
