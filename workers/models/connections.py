"""HTTP connections to models that any thread can cut at once, wherever the reader waits.

A request has two blocking places. A new connection (DNS, TCP, TLS: nothing that another thread could stop) is made in a
thread of its own, which a cut leaves behind. A reader that waits on a connected socket, for the status line or in
mid-stream, is woken by shutting that socket down.

Owns the process's connection pools, and which request uses which connection. urllib3 passes nothing from a request down
to its connection, so the request that a thread is sending stands in a thread-local.
"""

from __future__ import annotations

import functools
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

CONNECT_TIMEOUT_SECONDS = 10
MAX_CONNECTIONS = 1000  # kept for reuse, per host; more are made when needed


class Cut(Exception):
    """The request was cut by `CuttableRequest.cut`; never leaves workers.models."""


class CuttableRequest:
    """One request over HTTP, sent and read in one thread, which any other thread may cut."""

    def __init__(self) -> None:
        self._cut = threading.Event()
        self._wake = threading.Event()  # set by a cut, and when a new connection is made
        self._connection: _Connection | None = None
        self._socket: socket.socket | None = None

    @property
    def is_cut(self) -> bool:
        return self._cut.is_set()

    def cut(self) -> None:
        """Wake the reader, which then gets Cut. Returns at once."""
        with _attach_lock:
            self._cut.set()
            self._wake.set()
            self._shut_down()

    def raise_if_cut(self) -> None:
        if self._cut.is_set():
            raise Cut

    def wait(self, seconds: float) -> None:
        """Sleep. Errors: Cut, as soon as the request is cut."""
        if self._cut.wait(seconds):
            raise Cut

    def post(
        self, url: str, headers: Mapping[str, str], body: bytes, read_timeout_seconds: float
    ) -> urllib3.BaseHTTPResponse:
        """Send a request; return the response when its status line is there.

        Errors: urllib3.exceptions.HTTPError, OSError, ValueError, Cut
        """
        _sending.request = self
        try:
            return _manager(url).request(
                "POST",
                url,
                body=body,
                headers=headers,
                timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=read_timeout_seconds),
                preload_content=False,
                retries=False,
                redirect=False,
            )
        finally:
            _sending.request = None

    def set_read_timeout(self, seconds: float) -> None:
        """Change how long the socket is waited for, unless the request is cut."""
        if self._socket is not None and not self._cut.is_set():
            self._socket.settimeout(seconds)

    def attach(self, connection: _Connection) -> None:
        """Let a cut shut down this connection's socket, until another request attaches the connection."""
        with _attach_lock:
            connection.used_by = self
            self._connection, self._socket = connection, connection.sock
            if self._cut.is_set():
                self._shut_down()

    def connect(self, connection: _Connection, connect: Callable[[], None]) -> None:
        """Run connect() in a thread that a cut leaves behind."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                connect()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that sends the request
                failures.append(error)
            self._wake.set()
            if self._cut.is_set():
                connection.close()

        self._wake.clear()
        self.raise_if_cut()
        threading.Thread(target=run, name="model-connect", daemon=True).start()
        self._wake.wait()
        self.raise_if_cut()
        if failures:
            raise failures[0]
        self.attach(connection)

    def _shut_down(self) -> None:
        if self._socket is None or self._connection is None or self._connection.used_by is not self:
            return
        try:
            # Not SSLSocket.shutdown, which would pull the TLS state from under the thread that reads.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            pass  # closed meanwhile


_attach_lock = threading.Lock()  # over _Connection.used_by, for one system call at most
_sending = threading.local()  # .request: the CuttableRequest that this thread is sending


class _Connection(HTTPConnection):
    used_by: CuttableRequest | None = None  # a connection that is back in the pool may serve another request already

    def connect(self) -> None:
        _sending.request.connect(self, super().connect)

    def request(self, *args: Any, **kwargs: Any) -> None:
        _sending.request.attach(self)
        super().request(*args, **kwargs)


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def _manager(url: str) -> urllib3.PoolManager:
    """Return this process's connections for a URL: direct, or through the proxy that the environment names for it."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or urllib.request.proxy_bypass(host):
        return _make_manager(None)
    proxies = urllib.request.getproxies()
    return _make_manager(proxies.get(parts.scheme) or proxies.get("all"))


@functools.cache
def _make_manager(proxy: str | None) -> urllib3.PoolManager:
    manager = (
        urllib3.ProxyManager(proxy, maxsize=MAX_CONNECTIONS) if proxy else urllib3.PoolManager(maxsize=MAX_CONNECTIONS)
    )
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return manager
