"""Serve the application over real connections in this process, with enough HTTP for upgrades."""

from __future__ import annotations

import io
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import parse_headers
from typing import Any

from flask import Flask

BUFFER_BYTES = 64 * 1024  # of the sockets: small, so that a client that does not read fills it soon


@contextmanager
def serve(app: Flask) -> Iterator[str]:
    """Serve the application until the block ends. Yields "127.0.0.1:PORT"."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            reader = self.request.makefile("rb", buffering=0)
            method, target, _ = reader.readline().decode().split(" ", 2)
            headers = parse_headers(reader)
            path, _, query = target.partition("?")
            environ: dict[str, Any] = {
                "REQUEST_METHOD": method,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "SERVER_NAME": "127.0.0.1",
                "SERVER_PORT": headers.get("Host", "").rpartition(":")[2],
                "SERVER_PROTOCOL": "HTTP/1.1",
                "REMOTE_ADDR": self.client_address[0],
                "wsgi.url_scheme": "http",
                "wsgi.input": io.BytesIO(reader.read(int(headers.get("Content-Length", 0)))),
                "wsgi.errors": io.StringIO(),
                "gunicorn.socket": self.request,
                **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
            }
            try:
                body = b"".join(app(environ, self._start))
                self.request.sendall(self._head + body)
            except StopIteration:
                pass

        def _start(
            self, status: str, headers: list[tuple[str, str]], _error: Any = None, /
        ) -> Callable[[bytes], object]:
            lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), "Connection: close"]
            self._head = ("\r\n".join(lines) + "\r\n\r\n").encode()
            return self.request.sendall  # type: ignore[no-any-return]  # socketserver has no type for it

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def get_request(self) -> tuple[socket.socket, Any]:
            accepted, address = super().get_request()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            return accepted, address

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
