"""A scripted MCP server over streamable HTTP on loopback, with the tools of tests.support.mcp_program."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from tests.support import mcp_program


class McpAddress:
    """A context manager. requests: (method, headers in lower case, message) of all requests so far.

    token:    that requests must bring
    redirect: where requests are sent to instead of an answer
    as_events: answers are streams of events
    legacy:    speaks HTTP+SSE of 2024-11-05: one stream of events has all answers
    silent:    says nothing in that stream
    session:   the only session that it knows; another one after a restart
    """

    def __init__(
        self,
        token: str = "",
        redirect: str = "",
        *,
        as_events: bool = False,
        legacy: bool = False,
        silent: bool = False,
    ) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.token, self.redirect, self.as_events = token, redirect, as_events
        self.legacy, self.silent = legacy, silent
        self.session = "session-1"
        self.answers: SimpleQueue[str | None] = SimpleQueue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{'sse' if self.legacy else 'mcp'}"

    def __enter__(self) -> McpAddress:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.answers.put(None)
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        address = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                headers = {name.lower(): value for name, value in self.headers.items()}
                address.requests.append(("POST", headers, message))
                if address.redirect:
                    return self.reply(307, location=address.redirect)
                if address.token and headers.get("authorization") != f"Bearer {address.token}":
                    return self.reply(401)
                if headers.get("mcp-session-id", address.session) != address.session:
                    return self.reply(404)
                if "id" not in message:
                    return self.reply(202)
                answer = {"jsonrpc": "2.0", "id": message["id"]}
                answer |= mcp_program.answer(message["method"], message.get("params") or {})
                if address.legacy:
                    address.answers.put(f"event: message\ndata: {json.dumps(answer)}\n\n")
                    return self.reply(202)
                if address.as_events:
                    data = f"event: message\ndata: {json.dumps(answer)}\n\n".encode()
                    return self.reply(200, data, "text/event-stream")
                self.reply(200, json.dumps(answer).encode(), "application/json")

            def do_GET(self) -> None:
                if not address.legacy:
                    return self.reply(405)
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                if not address.silent:
                    self.wfile.write(b"event: endpoint\ndata: /messages?session_id=1\n\n")
                while (event := address.answers.get()) is not None:
                    self.wfile.write(event.encode())

            def do_DELETE(self) -> None:
                address.requests.append(("DELETE", {}, None))
                self.reply(204)

            def reply(self, status: int, body: bytes = b"", kind: str = "text/plain", location: str = "") -> None:
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("mcp-session-id", address.session)
                self.send_header("content-length", str(len(body)))
                if location:
                    self.send_header("location", location)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler
