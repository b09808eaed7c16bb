"""Sends one event to a webhook: a signed POST (Standard Webhooks) to an address that has been checked, and no other."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import orjson
from standardwebhooks.webhooks import Webhook as Signature

from shared import guarded_http
from shared.config.webhooks import Webhook
from shared.errors import AddressRefused, Unavailable
from shared.store.outbox import Outgoing

MAX_RESPONSE_BYTES = 65_536  # of the body, which is ignored: only the status counts


def send(webhook: Webhook, outgoing: Outgoing, timeout_seconds: float) -> str | None:
    """Send an event. Return None when the receiver accepted it (2xx), else what went wrong, in a few words.

    timeout_seconds: for everything from resolving the name to the response
    """
    deadline = time.monotonic() + timeout_seconds
    body = payload(outgoing)
    signed_at = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": outgoing.id,
        "webhook-timestamp": str(int(signed_at.timestamp())),
        "webhook-signature": Signature(webhook.secret).sign(outgoing.id, signed_at, body.decode()),
    }
    try:
        status = _post(webhook, headers, body, deadline)
    except (*guarded_http.FAILURES, AddressRefused, Unavailable) as error:
        if time.monotonic() >= deadline:
            return f"no response within {timeout_seconds:g} s"
        return str(error) or type(error).__name__
    if 200 <= status < 300:
        return None
    return f"HTTP {status}: redirects are not followed" if 300 <= status < 400 else f"HTTP {status}"


def payload(outgoing: Outgoing) -> bytes:
    """Return {"type", "timestamp" (of the event, ISO 8601), "data" (ids)}: the same bytes in every attempt."""
    at = datetime.fromtimestamp(outgoing.created_at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return orjson.dumps(
        {"type": outgoing.event, "timestamp": at.replace("+00:00", "Z"), "data": outgoing.data},
        option=orjson.OPT_SORT_KEYS,
    )


def _post(webhook: Webhook, headers: dict[str, str], body: bytes, deadline: float) -> int:
    """Return the status of the response. Errors: see `guarded_http.send`."""
    allowed = [webhook.host] if webhook.allow_private else []
    answered = guarded_http.send(
        "POST", webhook.url, headers, body=body, deadline=deadline, max_bytes=MAX_RESPONSE_BYTES, allowed=allowed
    )
    return answered.status
