"""HTTP connections to models that any thread can cut at once, wherever the reader waits.

A request has two blocking places. A new connection (DNS, TCP, TLS: nothing that another thread could stop) is made in a
thread of its own, which a cut leaves behind. A reader that waits on a connected socket, for the status line or in
mid-stream, is woken by shutting that socket down.

Owns the process's connection pools, which request uses which connection, and how often sockets are read. urllib3 passes
nothing from a request down to its connection, so the request that a thread is sending stands in a thread-local.

A read of a socket wakes a thread, which costs more than all that is done with a delta. So the more answers stream at
once, the longer each of them waits when it has read all that is there, and the more of its events are there then.
"""

from __future__ import annotations

import functools
import http.client
import io
import select
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CONNECT_TIMEOUT_SECONDS = 10
MAX_CONNECTIONS = 1000  # kept for reuse, per host; more are made when needed
BUFFER_BYTES = 32_768  # what one read of a socket can bring
FIRST_READS = 8  # of an answer: not delayed, so that its first text is there at once
READS_PER_SECOND = 1000  # of all answers that stream here, about; those of few answers are not delayed
SHORTEST_PAUSE_SECONDS = 0.010  # between two reads of an answer; shorter ones are left out
LONGEST_PAUSE_SECONDS = 0.100  # also how late a cut may be noticed
ACTIVE_SECONDS = 0.5  # after a read, for which an answer counts as one that brings text
COUNTED_EVERY_SECONDS = 0.1


class Cut(Exception):
    """The request was cut by `CuttableRequest.cut`; never leaves workers.models."""


class CuttableRequest:
    """One request over HTTP, sent and read in one thread, which any other thread may cut."""

    def __init__(self) -> None:
        self.cut_event = threading.Event()
        self._wake = threading.Event()  # set by a cut, and when a new connection is made
        self._connection: _Connection | None = None
        self._socket: socket.socket | None = None
        self._reader: _PacedReader | None = None  # of the answer

    @property
    def is_cut(self) -> bool:
        return self.cut_event.is_set()

    def cut(self) -> None:
        """Wake the reader, which then gets Cut. Returns at once."""
        with _attach_lock:
            self.cut_event.set()
            self._wake.set()
            self._shut_down()

    def raise_if_cut(self) -> None:
        if self.cut_event.is_set():
            raise Cut

    def wait(self, seconds: float) -> None:
        """Sleep. Errors: Cut, as soon as the request is cut."""
        if self.cut_event.wait(seconds):
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
        """Change how long the socket is waited for, unless the request is cut. The next read is not delayed."""
        if self._socket is not None and not self.cut_event.is_set():
            self._socket.settimeout(seconds)
        if self._reader is not None:
            self._reader.next_at = 0.0

    def attach(self, connection: _Connection) -> None:
        """Let a cut shut down this connection's socket, until another request attaches the connection."""
        with _attach_lock:
            connection.used_by = self
            self._connection, self._socket = connection, connection.sock
            if self.cut_event.is_set():
                self._shut_down()

    def read_with(self, reader: _PacedReader) -> None:
        """Know what reads the answer."""
        self._reader = reader

    def connect(self, connection: _Connection, connect: Callable[[], None]) -> None:
        """Run connect() in a thread that a cut leaves behind."""
        failures: list[BaseException] = []

        def run() -> None:
            try:
                connect()
            except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that sends the request
                failures.append(error)
            self._wake.set()
            if self.cut_event.is_set():
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
        # In TLS with a proxy, urllib3 has an object around the socket of a connection.
        below = self._socket if isinstance(self._socket, socket.socket) else self._socket.socket
        try:
            # Not SSLSocket.shutdown, which would pull the TLS state from under the thread that reads.
            socket.socket.shutdown(below, socket.SHUT_RDWR)
        except OSError:
            pass  # closed meanwhile


_attach_lock = threading.Lock()  # over _Connection.used_by, for one system call at most
_sending = threading.local()  # .request: the CuttableRequest that this thread is sending


class _Pace:
    """How long an answer waits between two reads: the longer, the more answers bring text at the moment."""

    def __init__(self) -> None:
        self.answers: weakref.WeakSet[_PacedReader] = weakref.WeakSet()
        self._lock = threading.Lock()  # over `answers`: threads must not add to a set that one of them goes through
        self._pause_seconds = 0.0
        self._counted_at = 0.0  # monotonic seconds

    def add(self, answer: _PacedReader) -> None:
        with self._lock:
            self.answers.add(answer)

    def pause_seconds(self, now: float) -> float:
        """Return how many seconds an answer waits before its next read; 0: it does not. now: monotonic seconds."""
        if now - self._counted_at > COUNTED_EVERY_SECONDS:
            self._counted_at = now
            with self._lock:
                answers = list(self.answers)
            active = sum(now - answer.read_at < ACTIVE_SECONDS for answer in answers)
            self._pause_seconds = min(LONGEST_PAUSE_SECONDS, active / READS_PER_SECOND)
        return self._pause_seconds if self._pause_seconds >= SHORTEST_PAUSE_SECONDS else 0.0


class _PacedReader(io.RawIOBase):
    """A socket's reader that lets data gather between its reads.

    A read may bring less than what is there: of TLS, one record. So it is the end of what is there that is waited at.

    read_at: when it got data last, monotonic seconds; 0: never, or it is closed
    next_at: when it may read next; 0: at once
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, cut: threading.Event) -> None:
        self.read_at = self.next_at = 0.0
        self._raw = raw
        self._socket = sock
        self._cut = cut
        self._reads = 0
        _pace.add(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if self.next_at:
            self._cut.wait(max(0.0, self.next_at - time.monotonic()))
        count = self._raw.readinto(buffer)
        self._reads += 1
        self.read_at = now = time.monotonic()
        pause_seconds = _pace.pause_seconds(now) if self._reads >= FIRST_READS else 0.0
        self.next_at = now + pause_seconds if pause_seconds and not self._has_more() else 0.0
        return count

    def close(self) -> None:
        self.read_at = 0.0
        self._raw.close()
        super().close()

    def _has_more(self) -> bool:
        """Return whether a read would bring more at once."""
        if not isinstance(self._socket, socket.socket):  # urllib3's TLS in TLS, which does not say
            return True
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))


_pace = _Pace()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        request: CuttableRequest | None = getattr(_sending, "request", None)
        if request is not None:  # else it is the answer of a proxy, while the connection is made
            reader = _PacedReader(self.fp.detach(), sock, request.cut_event)
            self.fp = io.BufferedReader(reader, BUFFER_BYTES)
            request.read_with(reader)


class _Connection(HTTPConnection):
    response_class = _Response
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
