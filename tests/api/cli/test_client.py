"""The HTTP client and the first turn, against a server with scripted answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from api.cli import first_turn
from api.cli.client import Client, Event
from shared.errors import InvalidRequest, ThreadhouseError, Unauthorized, Unavailable

Answers = dict[str, tuple[int, str, bytes]]


class ScriptedServer(ThreadingHTTPServer):
    """Answers each path with (status, content type, body), and records the requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: Answers = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, dict(self.headers), body))
        status, content_type, answer = self.server.answers[self.path]
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # nothing listens there: a client that uses the proxy fails
    started = ScriptedServer()
    thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield started
    started.shutdown()
    thread.join()
    started.server_close()


def sse(*events: tuple[str, dict[str, Any]]) -> tuple[int, str, bytes]:
    frames = [f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events]
    return 200, "text/event-stream", "".join(frames).encode()


def test_call_posts_the_params_and_returns_the_result(server: ScriptedServer) -> None:
    server.answers["/v2/thread/start"] = (200, "application/json", b'{"thread": {"id": "t"}}')

    assert Client(server.url, "th_1").call("thread/start", {"model": "m"}) == {"thread": {"id": "t"}}

    path, headers, body = server.requests[0]
    assert (path, json.loads(body)) == ("/v2/thread/start", {"model": "m"})
    assert headers["Authorization"] == "Bearer th_1"
    assert headers["Accept"] == "application/json"


def test_stream_skips_comments_and_an_incomplete_last_event(server: ScriptedServer) -> None:
    server.answers["/v2/turn/start"] = (
        200,
        "text/event-stream",
        b'event: result\ndata: {"result": 1}\n\n: still there\n\n'
        b'id: 7-0\nevent: x/y\ndata: {"method":\ndata:  "\xc3\xa9"}\n\ndata: {"cut',
    )

    events = list(Client(server.url).stream("turn/start", {}))

    assert events == [Event(None, "result", {"result": 1}), Event("7-0", "x/y", {"method": "é"})]
    assert server.requests[0][1]["Accept"] == "text/event-stream"


def test_events_sends_the_cursor_as_last_event_id(server: ScriptedServer) -> None:
    server.answers["/v2/thread/events?threadId=t"] = sse(("x", {}))

    assert [event.name for event in Client(server.url).events("t", after="7-0")] == ["x"]

    assert server.requests[0][1]["Last-Event-ID"] == "7-0"


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (400, b'{"detail": "invalid cursor: x"}', InvalidRequest, "invalid cursor: x"),
        (401, b'{"detail": "no credential"}', Unauthorized, "no credential"),
        (429, b'{"detail": "later"}', Unavailable, "later"),
        (500, b"<html>", Unavailable, "HTTP 500"),
        (404, b'"text"', InvalidRequest, "HTTP 404"),
    ],
)
def test_an_error_response_raises_an_error_with_the_detail_of_the_server(
    server: ScriptedServer, status: int, body: bytes, error: type[ThreadhouseError], message: str
) -> None:
    server.answers["/v2/x"] = (status, "application/problem+json", body)

    with pytest.raises(error, match=message):
        Client(server.url).call("x", {})


def test_without_a_server_calls_are_unavailable_and_it_is_not_ready(server: ScriptedServer) -> None:
    client = Client("http://127.0.0.1:1")

    with pytest.raises(Unavailable, match=r"no answer from 127\.0\.0\.1:1"):
        client.call("x", {})
    assert not client.is_ready()
    server.answers["/readyz"] = (503, "text/plain", b"")
    assert not Client(server.url).is_ready()
    server.answers["/readyz"] = (200, "text/plain", b"")
    assert Client(server.url).is_ready()


COMMAND = {"type": "commandExecution", "command": "uname", "status": "completed", "aggregatedOutput": "Linux\n"}


def turn(*events: tuple[str, dict[str, Any]], status: str = "completed") -> tuple[int, str, bytes]:
    ended = ("turn/completed", {"params": {"turn": {"status": status, "error": {"message": "why"}}}})
    return sse(("result", {"turn": {}}), *events, ended)


def completed(**changes: str) -> tuple[str, dict[str, Any]]:
    return "item/completed", {"params": {"item": COMMAND | changes}}


@pytest.fixture
def first(server: ScriptedServer) -> ScriptedServer:
    server.answers["/v2/thread/start"] = (200, "application/json", b'{"thread": {"id": "t"}}')
    return server


def test_the_first_turn_writes_streamed_text(first: ScriptedServer) -> None:
    output = ("item/commandExecution/outputDelta", {"params": {"delta": "Linux\n"}})
    message = ("item/agentMessage/delta", {"params": {"delta": "Done."}})
    first.answers["/v2/turn/start"] = turn(output, completed(), message)
    shown: list[str] = []

    first_turn.run(Client(first.url), shown.append)

    assert "".join(shown).endswith(f"> {first_turn.PROMPT}\nLinux\nDone.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (turn(completed(status="failed")), "command failed: Linux"),
        (turn(completed(), status="failed"), "ended failed: .*why"),
        (turn(), "ran no command"),
        (sse(completed()), "stream ended before the turn did"),
    ],
)
def test_a_failed_first_turn_raises_unavailable(
    first: ScriptedServer, answer: tuple[int, str, bytes], message: str
) -> None:
    first.answers["/v2/turn/start"] = answer

    with pytest.raises(Unavailable, match=message):
        first_turn.run(Client(first.url), lambda text: None)
