"""A wire that can be cut: TCP on a port of its own, passed on to another address."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

CHUNK_BYTES = 64 * 1024


class Wire:
    """Passes on every connection to `target` ("HOST:PORT"); a context manager."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.breaks_at: bytes | None = None  # what the server must not say: every connection breaks instead
        self._muted = False
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def mute(self) -> None:
        """From now on, and until it is mended, nothing that the server says arrives."""
        self._muted = True

    def cut(self) -> None:
        """Every connection breaks, and new ones are refused."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._break()

    def mend(self) -> None:
        """New connections are served again."""
        self._muted = False
        self._listener = self._listen(self.port)

    def blink(self) -> None:
        """Every connection breaks; new ones are served."""
        self._muted = False
        self._break()

    def _break(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._target)
                with self._lock:
                    self._sockets += [client, server]
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, from_server: bool) -> None:
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if from_server and self.breaks_at is not None and self.breaks_at in data:
                    break
                if not (from_server and self._muted):
                    sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)
        source.close()
