"""Sends one event to a webhook: a signed POST (Standard Webhooks) to an address that has been checked, and no other."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from urllib.parse import urlsplit

import orjson
from standardwebhooks.webhooks import Webhook as Signature

from shared.addresses import check_address
from shared.config.webhooks import Webhook
from shared.errors import AddressRefused, Unavailable
from shared.store.outbox import Outgoing

USER_AGENT = f"threadhouse/{version('threadhouse')}"
MAX_RESPONSE_BYTES = 65_536  # of the body, which is ignored: only the status counts
PORTS = {"http": 80, "https": 443}


def send(webhook: Webhook, outgoing: Outgoing, timeout_seconds: float) -> str | None:
    """Send an event. Return None when the receiver accepted it (2xx), else what went wrong, in a few words.

    timeout_seconds: for everything from resolving the name to the response
    """
    deadline = time.monotonic() + timeout_seconds
    body = payload(outgoing)
    signed_at = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": outgoing.id,
        "webhook-timestamp": str(int(signed_at.timestamp())),
        "webhook-signature": Signature(webhook.secret).sign(outgoing.id, signed_at, body.decode()),
    }
    try:
        status = _post(webhook, headers, body, deadline)
    except (OSError, ValueError, http.client.HTTPException, AddressRefused, Unavailable) as error:
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
    """Return the status of the response. http.client uses no proxy and follows no redirect. Errors: see `send`."""
    parts = urlsplit(webhook.url)
    port = parts.port or PORTS[parts.scheme]
    addresses = check_address(webhook.host, port, [webhook.host] if webhook.allow_private else [])
    connected = _connect(addresses, port, deadline)
    if parts.scheme == "https":
        connected = _tls().wrap_socket(connected, server_hostname=webhook.host, do_handshake_on_connect=False)
    # The timeout of the socket alone is not enough: a receiver that sends a byte now and then would never reach it.
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, [connected])
    watch.start()
    try:
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        connection = http.client.HTTPConnection(webhook.host, parts.port)
        connection.sock = connected
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body, {**headers, "Host": parts.netloc})
        response = connection.getresponse()
        response.read(MAX_RESPONSE_BYTES)
        if time.monotonic() >= deadline:
            raise TimeoutError  # http.client treats truncated headers as complete
        return response.status
    finally:
        watch.cancel()
        connected.close()


def _connect(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    """Connect to the first address that accepts; each gets its share of the time that is left."""
    for number, address in enumerate(addresses):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            connected = socket.create_connection((address, port), timeout=left / (len(addresses) - number))
        except OSError:
            if number == len(addresses) - 1:
                raise
            continue
        connected.settimeout(max(0.1, deadline - time.monotonic()))
        return connected
    raise TimeoutError("the time was up before a connection was attempted")


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has been closed already


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
