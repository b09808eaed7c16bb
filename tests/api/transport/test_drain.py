"""An API process that shuts down: requests in flight are answered, and every client is told to come back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from flask import Flask
from flask.testing import FlaskClient

from api.app import DRAIN, make_app
from api.delivery.close_codes import RESTARTING, Closed
from api.methods import TABLE
from api.transport import drain
from api.transport.drain import Drain
from shared.events.log import Event
from tests.api.delivery.test_connection import Bench
from tests.builders import Backend, make_thread
from tests.support.protocol_client import ProtocolClient, RpcError, connect
from tests.support.wsgi_server import serve

STREAM = {"Accept": "text/event-stream"}
SECONDS = 60


@pytest.fixture
def app(backend: Backend) -> Flask:
    return make_app(backend.services)


@pytest.fixture
def http(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    with serve(app) as address:
        yield address


@pytest.fixture
def client(address: str) -> ProtocolClient:
    client = connect(f"ws://{address}/")
    client.initialize()
    return client


def run(app: Flask) -> None:
    threading.Thread(target=app.extensions[DRAIN].run, daemon=True).start()


class Held:
    """A method whose requests wait until they are released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, *, slow: bool) -> None:
        self.begun, self.released = threading.Event(), threading.Event()
        method, handle = TABLE[name], TABLE[name].handle

        def wait(ctx: Any, params: Any) -> Any:
            self.begun.set()
            ctx.only_waits.set()  # as a request does that waits for a worker
            assert self.released.wait(SECONDS)
            return handle(ctx, params)

        monkeypatch.setattr(method, "handle", wait)
        monkeypatch.setattr(method, "SLOW", slow, raising=False)


def test_a_server_that_shuts_down_is_not_ready_and_opens_no_connection(
    backend: Backend, app: Flask, http: FlaskClient, address: str
) -> None:
    thread = make_thread(backend.store, backend.config)
    assert http.get("/readyz").status_code == 200

    app.extensions[DRAIN].run()

    assert http.get("/readyz").status_code == 503
    assert http.get("/healthz").status_code == 200
    assert http.get(f"/v2/thread/events?threadId={thread.id}", headers=STREAM).status_code == 503
    assert http.post("/v2/thread/start", json={}, headers=STREAM).status_code == 503
    assert http.post("/v2/thread/start", json={}).status_code == 200
    with pytest.raises(websocket.WebSocketBadStatusException, match="503"):
        connect(f"ws://{address}/")


@pytest.mark.parametrize("slow", [False, True])
def test_a_request_in_flight_is_answered_before_its_websocket_is_closed(
    app: Flask, client: ProtocolClient, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    idle = client
    busy = connect(idle_url(client))
    busy.initialize()
    held = Held(monkeypatch, "model/list", slow=slow)
    request_id = busy.send_request("model/list")
    assert held.begun.wait(SECONDS)

    run(app)

    assert idle.wait_until_lost().code == RESTARTING
    if slow:
        with pytest.raises(RpcError, match="connect again"):
            busy.request("thread/list")
    held.released.set()
    assert busy.result(request_id)["data"]
    assert busy.wait_until_lost().code == RESTARTING


def test_a_request_that_takes_too_long_does_not_hold_the_shutdown_up(
    app: Flask, client: ProtocolClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, "model/list", slow=True)
    monkeypatch.setattr(app.extensions[DRAIN], "_seconds", 0.1)
    client.send_request("model/list")
    assert held.begun.wait(SECONDS)

    app.extensions[DRAIN].run()

    assert client.wait_until_lost().code == RESTARTING
    held.released.set()


def test_an_event_stream_ends_with_the_cursor_of_its_client(backend: Backend, app: Flask, http: FlaskClient) -> None:
    thread = make_thread(backend.store, backend.config)
    response = http.get(f"/v2/thread/events?threadId={thread.id}", headers=STREAM)
    chunks = response.iter_encoded()
    opening = next(chunks)
    backend.publish(thread, Event("thread/name/updated", {"threadId": thread.id, "threadName": "new"}))
    event = next(chunks)

    run(app)

    assert opening.startswith(b"id: ")
    assert list(chunks) == [event.splitlines()[0] + b"\n\n"]
    response.close()


def test_a_connection_that_is_opened_while_the_drain_begins_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Bench().connection, Bench().connection
    rounds = iter([[first], [second], []])

    class Watch:
        def connections(self) -> list[Any]:
            return next(rounds)

    monkeypatch.setattr(drain, "ROUND_SECONDS", 0)

    Drain(Watch(), SECONDS).run()  # type: ignore[arg-type]

    for connection in (first, second):
        with pytest.raises(Closed):
            connection.dequeue(0)


def idle_url(client: ProtocolClient) -> str:
    host, port = client._socket.sock.getpeername()
    return f"ws://{host}:{port}/"
