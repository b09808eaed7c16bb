"""One HTTP request to a foreign server: to addresses that have been checked, by a deadline, with a limit of bytes.

Uses no proxy and follows no redirect. Nothing is kept: a connection serves one request.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from urllib.parse import urlsplit

from shared.addresses import check_address
from shared.config.urls import PORTS

USER_AGENT = f"threadhouse/{version('threadhouse')}"
READ_BYTES = 65_536
# What `send` raises beside AddressRefused and Unavailable.
FAILURES = (OSError, ValueError, http.client.HTTPException)


@dataclass(frozen=True, slots=True)
class Response:
    """A response. body: at most the bytes that were asked for; is_cut: there was more."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    is_cut: bool


class Cutter:
    """Cuts the request that runs with it, from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connected: socket.socket | None = None
        self.is_cut = False

    def cut(self) -> None:
        """End the request; those that follow fail at once."""
        with self._lock:
            self.is_cut = True
            if self._connected is not None:
                _shut(self._connected)

    def attach(self, connected: socket.socket | None) -> None:
        """Let a cut shut this socket down; None: no socket."""
        with self._lock:
            self._connected = connected
            if self.is_cut and connected is not None:
                _shut(connected)


def send(
    method: str,
    url: str,
    headers: Mapping[str, str],
    *,
    deadline: float,
    max_bytes: int,
    body: bytes | None = None,
    allowed: Collection[str] = (),
    cutter: Cutter | None = None,
) -> Response:
    """Send a request and return the response, whatever its status.

    url:      http:// or https:// with a host and without a user
    deadline: monotonic seconds, for everything from the connection to the last byte
    max_bytes: of the body, packed as it came
    allowed:  hosts that may be private (shared.addresses)
    Errors:   AddressRefused, Unavailable (the name cannot be resolved), FAILURES (TimeoutError at the deadline)
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
    connected = _connect(check_address(host, port, allowed), port, deadline)
    if parts.scheme == "https":
        connected = _tls().wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)
    # The timeout of the socket alone is not enough: a server that sends a byte now and then would never reach it.
    watch = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, [connected])
    watch.start()
    cutter = cutter or Cutter()
    try:
        cutter.attach(connected)
        if isinstance(connected, ssl.SSLSocket):
            connected.do_handshake()
        connection = http.client.HTTPConnection(host, parts.port)
        connection.sock = connected
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, {"User-Agent": USER_AGENT, **headers, "Host": parts.netloc})
        response = connection.getresponse()
        content, is_cut = _read(response, max_bytes)
        if time.monotonic() >= deadline or cutter.is_cut:
            raise TimeoutError("the time was up")  # http.client treats truncated headers and bodies as complete
        return Response(response.status, response.headers, content, is_cut)
    finally:
        watch.cancel()
        cutter.attach(None)
        connected.close()


def _read(response: http.client.HTTPResponse, max_bytes: int) -> tuple[bytes, bool]:
    """Return (body, whether there is more)."""
    content = bytearray()
    while len(content) <= max_bytes and (data := response.read1(READ_BYTES)):
        content += data
    return bytes(content[:max_bytes]), len(content) > max_bytes


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
        # Not SSLSocket.shutdown, which would pull the TLS state from under the thread that reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)
    except OSError:
        pass  # it has been closed already


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
