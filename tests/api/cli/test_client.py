"""The client of the HTTP door, and the first turn, against a door that plays a script."""

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


class Door(ThreadingHTTPServer):
    """Answers each path with (status, content type, body) and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: Answers = {}
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Door

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
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # nobody listens there: a client that asks it fails
    server = Door()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def sse(*events: tuple[str, dict[str, Any]]) -> tuple[int, str, bytes]:
    frames = [f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in events]
    return 200, "text/event-stream", "".join(frames).encode()


def test_a_call_posts_its_params_and_gives_the_result(door: Door) -> None:
    door.answers["/v2/thread/start"] = (200, "application/json", b'{"thread": {"id": "t"}}')

    assert Client(door.url, "th_1").call("thread/start", {"model": "m"}) == {"thread": {"id": "t"}}

    path, headers, body = door.requests[0]
    assert (path, json.loads(body)) == ("/v2/thread/start", {"model": "m"})
    assert headers["Authorization"] == "Bearer th_1"
    assert headers["Accept"] == "application/json"


def test_a_stream_is_its_events_without_comments_and_half_events(door: Door) -> None:
    door.answers["/v2/turn/start"] = (
        200,
        "text/event-stream",
        b'event: result\ndata: {"turn": 1}\n\n: still there\n\n'
        b'id: 7-0\nevent: x/y\ndata: {"a":\ndata:  "\xc3\xa9"}\n\ndata: {"cut',
    )

    events = list(Client(door.url).stream("turn/start", {}))

    assert events == [Event(None, "result", {"turn": 1}), Event("7-0", "x/y", {"a": "é"})]
    assert door.requests[0][1]["Accept"] == "text/event-stream"


def test_events_after_a_cursor_are_asked_for_with_it(door: Door) -> None:
    door.answers["/v2/thread/events?threadId=t"] = sse(("x", {}))

    assert [event.name for event in Client(door.url).events("t", after="7-0")] == ["x"]

    assert door.requests[0][1]["Last-Event-ID"] == "7-0"


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
def test_a_refusal_is_an_error_with_the_servers_words(
    door: Door, status: int, body: bytes, error: type[ThreadhouseError], message: str
) -> None:
    door.answers["/v2/x"] = (status, "application/problem+json", body)

    with pytest.raises(error, match=message):
        Client(door.url).call("x", {})


def test_nobody_listening_is_unavailable_and_not_ready(door: Door) -> None:
    client = Client("http://127.0.0.1:1")

    with pytest.raises(Unavailable, match=r"no answer from 127\.0\.0\.1:1"):
        client.call("x", {})
    assert not client.is_ready()
    door.answers["/readyz"] = (503, "text/plain", b"")
    assert not Client(door.url).is_ready()
    door.answers["/readyz"] = (200, "text/plain", b"")
    assert Client(door.url).is_ready()


COMMAND = {"type": "commandExecution", "command": "uname", "status": "completed", "aggregatedOutput": "Linux\n"}


def turn(*events: tuple[str, dict[str, Any]], status: str = "completed") -> tuple[int, str, bytes]:
    ended = ("turn/completed", {"params": {"turn": {"status": status, "error": {"message": "why"}}}})
    return sse(("result", {"turn": {}}), *events, ended)


def completed(**changes: str) -> tuple[str, dict[str, Any]]:
    return "item/completed", {"params": {"item": COMMAND | changes}}


@pytest.fixture
def first(door: Door) -> Door:
    door.answers["/v2/thread/start"] = (200, "application/json", b'{"thread": {"id": "t"}}')
    return door


def test_the_first_turn_shows_what_streams(first: Door) -> None:
    output = ("item/commandExecution/outputDelta", {"params": {"delta": "Linux\n"}})
    message = ("item/agentMessage/delta", {"params": {"delta": "Done."}})
    first.answers["/v2/turn/start"] = turn(output, completed(), message)
    shown: list[str] = []

    first_turn.run(Client(first.url), shown.append)

    assert "".join(shown).endswith(f"> {first_turn.PROMPT}\nLinux\nDone.")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (turn(completed(status="failed")), "command failed: Linux"),
        (turn(completed(), status="failed"), "ended failed: .*why"),
        (turn(), "ran no command"),
        (sse(completed()), "stream ended before the turn did"),
    ],
)
def test_a_first_turn_that_did_not_work_fails(first: Door, answer: tuple[int, str, bytes], complaint: str) -> None:
    first.answers["/v2/turn/start"] = answer

    with pytest.raises(Unavailable, match=complaint):
        first_turn.run(Client(first.url), lambda text: None)
