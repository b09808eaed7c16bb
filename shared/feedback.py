"""`[feedback]` of config.toml: where reports go, and what is redacted before they do (shared.store.feedback)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from shared.config_table import ConfigTable
from shared.redaction import Redaction

if TYPE_CHECKING:
    from shared.config import Config

DATABASE, DIRECTORY, WEBHOOK = "database", "directory", "webhook"
SINKS = (DATABASE, DIRECTORY, WEBHOOK)
MAX_LOG_BYTES = 10_000_000
RETRY_SECONDS = (10.0, 60.0, 600.0, 3600.0, 21_600.0)


@dataclass(frozen=True)
class FeedbackSettings:
    """`[feedback]`."""

    directory: Path  # folder of the sink "directory": a file for each report, ID.json; default HOME/feedback
    sinks: tuple[str, ...] = (DATABASE,)  # "database", "directory", "webhook" (the word of `feedback.processed`)
    redact_patterns: tuple[str, ...] = ()  # regular expressions (RE2); what they match is redacted
    reports_per_day: int = 100  # of one user; 0 means no limit
    max_log_bytes: int = MAX_LOG_BYTES  # bytes of a thread's log that go with a report; the newest stay
    retry_seconds: tuple[float, ...] = RETRY_SECONDS  # s to wait behind each attempt that failed; then it has failed


def read_feedback(root: ConfigTable, home: Path) -> FeedbackSettings:
    """Errors: ConfigError."""
    table = root.table("feedback")
    patterns = table.texts("redact_patterns")
    Redaction(patterns)  # says which one is wrong
    return FeedbackSettings(
        directory=table.path("directory", home) or home / "feedback",
        sinks=table.choices("sinks", SINKS) if table.has("sinks") else FeedbackSettings.sinks,
        redact_patterns=patterns,
        reports_per_day=table.integer("reports_per_day", FeedbackSettings.reports_per_day),
        max_log_bytes=table.integer("max_log_bytes", MAX_LOG_BYTES, at_least=1000),
        retry_seconds=table.several_seconds("retry_seconds", RETRY_SECONDS),
    )


def redaction(config: Config) -> Redaction:
    """What is redacted before anything of a user's leaves the house."""
    return Redaction(config.feedback.redact_patterns, _secrets(config))


def _secrets(config: Config) -> Iterator[str]:
    for provider in config.model_providers.values():
        yield provider.api_key or ""
        yield from _of_headers(provider.resolved_headers)
        yield from provider.query_params.values()
    for webhook in config.webhooks:
        yield webhook.secret
    for exporter in (config.otel.exporter, config.otel.trace_exporter, config.otel.metrics_exporter):
        if exporter is not None:
            yield from _of_headers(exporter.headers)
    for credential in config.workspaces.credentials.values():
        yield credential.token or ""
    for url in (config.database_url, config.redis_url):
        password = urlsplit(url).password or ""
        yield from (password, unquote(password))
    if config.auth is not None and config.auth.jwt_secret_file is not None:
        with suppress(OSError, UnicodeDecodeError):  # a worker may not have it, and need not
            yield config.auth.jwt_secret_file.read_text().strip()


def _of_headers(headers: Mapping[str, str]) -> Iterator[str]:
    for value in headers.values():
        yield from (value, value.rpartition(" ")[2])  # Bearer SECRET
