"""`[[webhooks]]` of config.toml: who is told what, over HTTP. What they are told waits in shared.store.outbox."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from shared.config_table import ConfigTable

EVENTS = (
    "turn.started",
    "turn.completed",
    "turn.failed",
    "turn.interrupted",
    "approval.requested",
    "approval.resolved",
    "approval.expired",
    "feedback.processed",
)
SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)  # Standard Webhooks, "Signature scheme"
NOTIFY = "notify"  # beside the URLs: the operator's notify program, and the one event that it is for


@dataclass(frozen=True)
class Webhook:
    """One receiver."""

    url: str  # http:// or https://, without a user; the one key of a webhook, so no two have the same; required
    secret: str = field(repr=False)  # "whsec_" and 24 to 64 bytes in base64, or ${VAR} of the environment; required
    events: tuple[str, ...] = EVENTS  # what it is told
    allow_private: bool = False  # whether its host may have a private, loopback or link-local address

    @property
    def host(self) -> str:
        """For log lines: a path or query may hold a secret."""
        return urlsplit(self.url).hostname or ""


def read_webhooks(root: ConfigTable, environ: Mapping[str, str]) -> tuple[Webhook, ...]:
    """Errors: ConfigError."""
    webhooks: dict[str, Webhook] = {}
    for table in root.array("webhooks"):
        url = table.text("url")
        if url is None or not _is_usable(url):
            raise table.error("url", "an http:// or https:// URL without a user", url)
        if url in webhooks:
            raise table.error("url", "a URL that no other webhook has", url)
        secret = table.expanded("secret", environ)
        if secret is None or not _is_secret(secret):
            raise table.error("secret", f'"{SECRET_PREFIX}" and 24 to 64 bytes in base64', secret)
        webhooks[url] = Webhook(url, secret, table.choices("events", EVENTS), table.flag("allow_private", False))
    return tuple(webhooks.values())


def listeners(webhooks: tuple[Webhook, ...], *, notify: bool) -> dict[str, tuple[str, ...]]:
    """Event → who is told: URLs, and NOTIFY of its own event. Events that nobody is told are left out."""
    told = {event: tuple(one.url for one in webhooks if event in one.events) for event in EVENTS}
    told[NOTIFY] = (NOTIFY,) if notify else ()
    return {event: targets for event, targets in told.items() if targets}


def _is_usable(url: str) -> bool:
    try:
        if not url.isascii() or not url.isprintable() or " " in url:
            return False
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        )
    except ValueError:  # such as a port that is no number
        return False


def _is_secret(secret: str) -> bool:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:  # also characters that are not ASCII
        return False
    return secret.startswith(SECRET_PREFIX) and len(key) in SECRET_BYTES
