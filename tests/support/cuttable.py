"""A TCP proxy whose connections can be cut, muted and restored, for tests of reconnection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

CHUNK_BYTES = 64 * 1024


class Wire:
    """A proxy from a free port to the first of `targets` ("HOST:PORT") that accepts; a context manager.

    break_on: bytes that cut a connection instead of being forwarded, when the server sends them
    next_cut: how many bytes the server may send until all connections break, asked anew for each cut; None: no cuts
    cuts:     how often that happened
    """

    def __init__(self, *targets: str, next_cut: Callable[[], int] | None = None) -> None:
        self._targets = [(host, int(port)) for host, _, port in (target.rpartition(":") for target in targets)]
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.break_on: bytes | None = None
        self.next_cut = next_cut
        self.cuts = 0
        self._bytes_left = next_cut() if next_cut else 0
        self._muted = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._dropped: set[socket.socket] = set()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def mute(self) -> None:
        """Discard what the server sends, until `restore` or `drop_connections`."""
        self._muted = True

    def cut(self) -> None:
        """Break every connection and refuse new ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break()

    def restore(self) -> None:
        """Accept new connections again."""
        self._muted = False
        self._listener = self._listen(self.port)

    def drop_connections(self) -> None:
        """Break every connection; new ones are accepted."""
        with self._lock:
            self._dropped.update(self._sockets)  # a connection that was muted must not send the rest
        self._muted = False
        self._break()

    def _break(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for connection in sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = self._connect()
                if server is None:
                    client.close()
                    continue
                with self._lock:
                    self._sockets += [client, server]
                threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _before_cut(self, data: bytes, next_cut: Callable[[], int]) -> bytes:
        """Return what may still be sent of the data; cut when that is not all."""
        with self._lock:
            allowed, self._bytes_left = data[: self._bytes_left], self._bytes_left - len(data)
            is_cut = self._bytes_left <= 0
            if is_cut:
                self._bytes_left = next_cut()
                self.cuts += 1
        if is_cut:
            self._break()
        return allowed

    def _connect(self) -> socket.socket | None:
        for target in self._targets:
            with suppress(OSError):
                return socket.create_connection(target)
        return None

    def _forward(self, source: socket.socket, sink: socket.socket, from_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if from_server and self.break_on is not None and self.break_on in data:
                    break
                next_cut = self.next_cut  # a test may set it at any time
                if from_server and next_cut is not None:
                    data = self._before_cut(data, next_cut)
                if not (from_server and (self._muted or sink in self._dropped)):
                    sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)
        source.close()
