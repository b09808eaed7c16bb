"""A SearXNG and pages of the web, scripted, on loopback."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

DRIP_SECONDS = 0.05


@dataclass
class Asked:
    """A request. path: with its query; headers: names in lower case."""

    path: str
    headers: dict[str, str]


class Web:
    """One server that is both; a context manager.

    results: what each search answers; a dict, or the bytes and the status of a broken search engine
    pages:   path → (status, headers, body); a body that is a function gets the handler and writes what it likes
    asked:   every request so far
    """

    def __init__(self) -> None:
        self.results: dict[str, Any] | tuple[int, bytes] = {"results": []}
        self.pages: dict[str, tuple[int, dict[str, str], bytes | Callable[[BaseHTTPRequestHandler], None]]] = {}
        self.asked: list[Asked] = []
        self.closed = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"  # of the search engine
        self.pages_url = f"http://localhost:{self.port}"  # of the pages: another name, which may be allowed by itself

    def page(self, path: str, body: bytes | str | Callable[[BaseHTTPRequestHandler], None], **headers: str) -> str:
        """Serve a page with status 200 and return its URL. headers: content_type="text/plain" and so on"""
        body = body.encode() if isinstance(body, str) else body
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.pages[path] = (200, {"Content-Type": "text/html; charset=utf-8", **_titled(named)}, body)
        return self.pages_url + path

    def redirect(self, path: str, location: str) -> str:
        """Serve a redirect and return its URL."""
        self.pages[path] = (302, {"Location": location}, b"")
        return self.pages_url + path

    def searches(self) -> list[str]:
        """Return what was searched for."""
        return [parse_qs(urlsplit(one.path).query)["q"][0] for one in self.asked if one.path.startswith("/search?")]

    def paths(self) -> list[str]:
        """Return the pages that were asked for."""
        return [one.path for one in self.asked if not one.path.startswith("/search?")]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(Asked(handler.path, {name.lower(): value for name, value in handler.headers.items()}))
        if handler.path.startswith("/search?"):
            found = self.results
            status, payload = found if isinstance(found, tuple) else (200, orjson.dumps(found))
            return _send(handler, status, {"Content-Type": "application/json"}, payload)
        status, headers, body = self.pages.get(handler.path, (404, {"Content-Type": "text/plain"}, b"no such page"))
        if callable(body):
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            try:
                body(handler)
            except OSError:
                pass  # the client has gone
            return None
        return _send(handler, status, headers, body)

    def drip(self, data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        """Return a body that repeats this data without an end, with a pause between."""

        def write(handler: BaseHTTPRequestHandler) -> None:
            while not self.closed.is_set():
                handler.wfile.write(data)
                handler.wfile.flush()
                time.sleep(DRIP_SECONDS)

        return write

    def flood(self, data: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
        """Return a body that repeats this data without an end, as fast as it is read."""

        def write(handler: BaseHTTPRequestHandler) -> None:
            while not self.closed.is_set():
                handler.wfile.write(data)

        return write

    def __enter__(self) -> Web:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()


def _titled(headers: dict[str, str]) -> dict[str, str]:
    return {name.title(): value for name, value in headers.items()}


def _send(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str], body: bytes) -> None:
    handler.send_response(status)
    for name, value in {**headers, "Content-Length": str(len(body))}.items():
        handler.send_header(name, value)
    handler.end_headers()
    try:
        handler.wfile.write(body)
    except OSError:
        pass  # the client has read enough
