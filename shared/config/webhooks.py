"""`[[webhooks]]`: the receivers of events over HTTP. Deliveries wait in shared.store.outbox."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import urlsplit

from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.config.urls import is_http_url

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
NOTIFY = "notify"  # the target, and the event, of the operator's notify program; other targets are URLs


@dataclass(frozen=True)
class Webhook:
    """One receiver. Its URL identifies it, so no two webhooks have the same."""

    url: Annotated[
        str,
        Setting(
            "URL that events are sent to.",
            matches=is_http_url,
            expected="an http:// or https:// URL without a user",
        ),
    ]
    secret: Annotated[
        str,
        Setting(
            f"Signing secret: `{SECRET_PREFIX}` and 24 to 64 bytes in base64; ${{NAME}} is that environment variable.",
            matches=_is_secret,
            expected=f'"{SECRET_PREFIX}" and 24 to 64 bytes in base64',
            expands=True,
        ),
    ] = field(repr=False)
    events: Annotated[tuple[str, ...], Setting("The events that are sent.", choices=EVENTS, default="all")] = EVENTS
    allow_private: Annotated[bool, Setting("Whether the host may have a private, loopback or link-local address.")] = (
        False
    )

    @property
    def host(self) -> str:
        """The host, for log lines: a path or query may contain a secret."""
        return urlsplit(self.url).hostname or ""


def listeners(webhooks: tuple[Webhook, ...], *, notify: bool) -> dict[str, tuple[str, ...]]:
    """Return event → targets: URLs of webhooks, and NOTIFY for its own event. Events without a target are left out."""
    found = {event: tuple(one.url for one in webhooks if event in one.events) for event in EVENTS}
    found[NOTIFY] = (NOTIFY,) if notify else ()
    return {event: to for event, to in found.items() if to}


def check_urls(webhooks: Sequence[Webhook], tables: Sequence[ConfigTable]) -> None:
    """Errors: ConfigError (two webhooks with one URL)."""
    seen: set[str] = set()
    for webhook, table in zip(webhooks, tables, strict=True):
        if webhook.url in seen:
            raise table.error("url", "a URL that no other webhook has", webhook.url)
        seen.add(webhook.url)


def _is_secret(secret: str) -> bool:
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:  # also characters that are not ASCII
        return False
    return secret.startswith(SECRET_PREFIX) and len(key) in SECRET_BYTES
