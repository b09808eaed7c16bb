"""`[feedback]`: where feedback reports go, and what is redacted in everything that leaves this deployment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

from shared import encryption
from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.redaction import Redaction

if TYPE_CHECKING:
    from shared.config import Config

DATABASE, DIRECTORY, WEBHOOK = "database", "directory", "webhook"
SINKS = (DATABASE, DIRECTORY, WEBHOOK)
RETRY_SECONDS = (10.0, 60.0, 600.0, 3600.0, 21_600.0)


@dataclass(frozen=True)
class FeedbackSettings:
    """What happens to feedback reports (shared.store.feedback)."""

    directory: Annotated[
        Path, Setting("Folder of the sink `directory`: one file ID.json per report.", below_home="feedback")
    ]
    sinks: Annotated[
        tuple[str, ...],
        Setting("Where reports go; `webhook` sends the event feedback.processed.", choices=SINKS),
    ] = (DATABASE,)
    redact_patterns: Annotated[
        tuple[str, ...], Setting("Regular expressions (RE2); what they match is redacted everywhere.")
    ] = ()
    reports_per_day: Annotated[int, Setting("Reports of one user per day; 0 means no limit.")] = 100
    max_log_bytes: Annotated[
        int,
        Setting(
            "Size of the log of a thread that goes with a report; the newest part is kept.", unit="bytes", minimum=1000
        ),
    ] = 10_000_000
    retry_seconds: Annotated[
        tuple[float, ...],
        Setting("Time to wait after each failed attempt to process a report; then the report has failed.", unit="s"),
    ] = RETRY_SECONDS

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> FeedbackSettings:
        """Errors: ConfigError (names the pattern that is not a regular expression)."""
        Redaction(values.get("redact_patterns", ()))
        return cls(**values)


def redaction(config: Config) -> Redaction:
    """Return the redaction of everything that leaves this deployment, and of log lines."""
    return Redaction(config.feedback.redact_patterns, _secrets(config))


def _secrets(config: Config) -> Iterator[str]:
    for provider in config.model_providers.values():
        yield provider.api_key or ""
        yield from _header_secrets(provider.resolved_headers)
        yield from provider.query_params.values()
    for webhook in config.webhooks:
        yield webhook.secret
    for exporter in (config.otel.exporter, config.otel.trace_exporter, config.otel.metrics_exporter):
        if exporter is not None:
            yield from _header_secrets(exporter.headers)
    for credential in config.workspaces.credentials.values():
        yield credential.token or ""
    yield from encryption.split_keys(config.server.secrets_key or "")
    for url in (config.database_url, config.redis_url):
        password = urlsplit(url).password or ""
        yield from (password, unquote(password))
    if config.auth is not None and config.auth.jwt_secret_file is not None:
        with suppress(OSError, UnicodeDecodeError):  # a worker may not have the file and does not need it
            yield config.auth.jwt_secret_file.read_text().strip()
    if config.auth is not None and config.auth.oidc is not None:
        yield config.auth.oidc.client_secret or ""


def _header_secrets(headers: Mapping[str, str]) -> Iterator[str]:
    for value in headers.values():
        yield from (value, value.rpartition(" ")[2])  # the latter is SECRET of "Bearer SECRET"
