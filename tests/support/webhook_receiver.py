"""A receiver of webhooks that can fail, hang and redirect."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from standardwebhooks.webhooks import Webhook

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
DRIP_SECONDS = 0.05


@dataclass
class Received:
    """A received request. answered: the answer that it got: a status, "hang" or "drip"."""

    path: str
    headers: dict[str, str]
    body: bytes
    answered: int | str

    def verified(self) -> Any:
        """Check the signature and return the payload. Errors: WebhookVerificationError (of standardwebhooks)."""
        return Webhook(SECRET).verify(self.body, self.headers)


class WebhookReceiver:
    """A receiver on loopback; a context manager.

    certfile: PEM file with a certificate for localhost and its key; the receiver then serves https
    answers:  answers of the next requests, in order: a status, "hang" or "drip" (an endless header); after them 200
    location: the target of redirects
    received: every request so far, in order
    """

    def __init__(self, certfile: Path | None = None) -> None:
        self.answers: list[int | str] = []
        self.location = ""
        self.received: list[Received] = []
        self.closed = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http"
        if certfile is not None:
            self._scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certfile)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        host = "localhost" if self._scheme == "https" else "127.0.0.1"
        return f"{self._scheme}://{host}:{self._server.server_address[1]}/in?a=1"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        with self._lock:
            answer = self.answers.pop(0) if self.answers else 200
            self.received.append(Received(request.path, dict(request.headers), body, answer))
        if answer == "hang":
            self.closed.wait()
        elif answer == "drip":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
            try:
                while not self.closed.wait(DRIP_SECONDS):
                    request.wfile.write(b"x")
            except OSError:
                return
        else:
            request.send_response(int(answer))
            if self.location:
                request.send_header("Location", self.location)
            request.send_header("Content-Length", "0")
            request.end_headers()

    def __enter__(self) -> WebhookReceiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()
