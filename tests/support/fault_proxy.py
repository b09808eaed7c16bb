"""A proxy between the processes of a deployment and one server, which fails as networks and servers do.

It knows nothing of the protocol: `cut_behind` looks for bytes in what a client sends.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 64 * 1024
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


@dataclass(eq=False)
class _Link:
    """One connection through the proxy.

    dropped: nothing passes any more, and neither side is told
    sent:    what the client has sent, since the request of `cut_behind` if there is one
    cut:     what the server sends is discarded, and with bytes that contain this the connection ends; None: not cut
    """

    client: socket.socket
    server: socket.socket
    dropped: bool = False
    sent: bytes = b""
    cut: bytes | None = None

    def end(self) -> None:
        """End both connections, that of the client with a reset."""
        with suppress(OSError):
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
        for side in (self.client, self.server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()


class FaultProxy:
    """A proxy from a free port of the loopback device to a server; a context manager.

    target: the path of a Unix socket, or (host, port)
    """

    def __init__(self, target: Path | tuple[str, int]) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._refusing = False
        self._delay_seconds = 0.0
        self._cut: tuple[bytes, bytes, bytes] | None = None
        self.has_cut = threading.Event()
        self.observer: Callable[[object, bool, bytes], None] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.heal()
        self.reset()

    # -- faults

    def pause(self) -> None:
        """Let nothing pass until `heal`. The kernel still answers: connections are made, and bytes acknowledged."""
        self._flowing.clear()

    @property
    def links(self) -> list[_Link]:
        with self._lock:
            return list(self._links)

    def drop(self) -> None:
        """Let nothing pass on today's connections, for ever, as a middlebox that has forgotten them; new ones work.

        Those dropped before end, as a server ends them in time whose keepalive probes nobody answers.
        """
        with self._lock:
            for link in [link for link in self._links if link.dropped]:
                self._links.remove(link)
                link.end()
            for link in self._links:
                link.dropped = True

    def reset(self) -> None:
        """End all connections; new ones work."""
        with self._lock:
            links, self._links = self._links, set()
        for link in links:
            link.end()

    def refuse(self) -> None:
        """End all connections, and new ones at once, until `heal`."""
        self._refusing = True
        self.reset()

    def delay(self, seconds: float) -> None:
        """Pass on everything so much later, until `heal`."""
        self._delay_seconds = seconds

    def cut_behind(self, request: bytes, about: bytes = b"", reply: bytes = b"") -> None:
        """Cut the next connection that sends these bytes: they reach the server, and its reply does not come back.

        about: bytes that the connection must have sent since it last sent `request`
        reply: bytes in the reply, where the server may still owe replies to earlier requests
        """
        self.has_cut.clear()
        self._cut = (request, about, reply)

    def heal(self) -> None:
        """Let everything pass again, except on dropped connections."""
        self._delay_seconds, self._refusing, self._cut = 0.0, False, None
        self._flowing.set()

    # -- the threads

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refusing:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                    client.close()
                    continue
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._flowing.wait()
        try:
            if isinstance(self._target, Path):
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self._target))
            else:
                server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = _Link(client, server)
        with self._lock:
            self._links.add(link)
        threading.Thread(target=self._forward, args=(link, server, client), daemon=True).start()
        self._forward(link, client, server)

    def _forward(self, link: _Link, source: socket.socket, sink: socket.socket) -> None:
        """Pass bytes on in one direction until either side ends."""
        from_client = source is link.client
        with suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._flowing.wait()
                if self.observer is not None:
                    self.observer(link, from_client, data)
                if self._delay_seconds:
                    time.sleep(self._delay_seconds)
                if link.dropped:
                    continue
                if from_client:
                    self._watch(link, data)
                elif link.cut is not None:
                    if link.cut not in data:
                        continue
                    self.has_cut.set()
                    break
                sink.sendall(data)
        if not link.dropped:  # whoever waits on a dropped connection hears nothing, not even its end
            with self._lock:
                self._links.discard(link)
            link.end()

    def _watch(self, link: _Link, data: bytes) -> None:
        link.sent = (link.sent + data)[-CHUNK_BYTES:]
        with self._lock:
            if self._cut is None or self._cut[0] not in link.sent:
                return
            request, about, reply = self._cut
            if about in link.sent:
                self._cut, link.cut = None, reply
            link.sent = link.sent.rpartition(request)[2]
