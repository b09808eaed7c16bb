"""What one user may do at once and how often."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import websocket
from flask.testing import FlaskClient

from api import limits
from api.app import make_app
from shared.config import Limits
from shared.store.items import Item
from tests.builders import (
    House,
    claim_turn,
    end_turn,
    make_message,
    make_thread,
    make_turn,
    text_input,
)
from tests.support.protocol_client import connect
from tests.support.wait import until
from tests.support.wsgi_server import serve

STREAM = {"Accept": "text/event-stream"}


def test_who_asks_too_often_is_told_when_to_come_back_on_both_transports(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(requests_per_minute=3))
    client = house.connect()  # the handshake is one

    for _ in range(2):
        client.call("account/read")
    error = client.error("account/read", {})
    answer = make_app(house.services).test_client().post("/v2/account/read", json={})

    assert error["code"] == -32001
    assert error["data"]["codexErrorInfo"] == "server_overloaded"
    assert 1000 <= error["data"]["retryAfterMs"] <= 60_000
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_users_are_counted_apart(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(requests_per_minute=2))
    ann, bob = house.connect("ann"), house.connect("bob")

    ann.call("account/read")
    ann.error("account/read", {})

    assert bob.call("account/read")["userId"] == "bob"


def test_without_redis_requests_are_let_through(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(requests_per_minute=1))
    client = house.connect()
    house.redis_server.connected = False

    answered = client.call("account/read")

    house.redis_server.connected = True
    assert answered["userId"] == "local"


def test_no_limit_is_the_default(house: House) -> None:
    client = house.connect()

    for _ in range(50):
        client.call("account/read")


def test_a_limit_of_ones_own_counts_before_the_default(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(requests_per_minute=1))
    house.store.limits.change("ann", {"requests_per_minute": 0})
    house.store.limits.change("bob", {"requests_per_minute": 3})
    ann, bob = house.connect("ann"), house.connect("bob")

    for _ in range(5):
        ann.call("account/read")
    for _ in range(2):
        bob.call("account/read")

    assert bob.error("account/read", {})["code"] == -32001


def test_a_changed_limit_is_obeyed_after_a_few_seconds(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KNOWN_SECONDS", 0)
    ann = house.connect("ann")

    house.store.limits.change("ann", {"requests_per_minute": 1})
    ann.call("account/read")
    assert ann.error("account/read", {})["code"] == -32001
    house.store.limits.change("ann", {"requests_per_minute": None})

    ann.call("account/read")


# -- turns that wait


def test_a_queue_that_is_full_takes_no_turn_of_anybody(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(waiting_turns=2))
    for owner in ("ann", "bob"):
        make_turn(house.store, make_thread(house.store, house.config, owner))
    thread = make_thread(house.store, house.config, "cy")

    error = house.connect("cy").error("turn/start", {"threadId": thread.id, "input": text_input("hello")})

    assert error["code"] == -32001
    assert error["data"] == {"codexErrorInfo": "server_overloaded", "retryAfterMs": 1000}
    assert house.store.turns.of_thread(thread.id, "cy") == []
    assert house.store.threads.get(thread.id, "cy").preview == ""
    assert house.store.turns.all_users_waiting() == 2


# -- threads and what they hold


@pytest.mark.parametrize("method", ["thread/start", "thread/fork"])
def test_who_has_all_the_threads_that_are_allowed_gets_no_more(open_house: Callable[..., House], method: str) -> None:
    house = open_house(limits=Limits(threads=2))
    threads = [make_thread(house.store, house.config) for _ in range(2)]
    client = house.connect()
    params = {"threadId": threads[0].id} if method == "thread/fork" else {}

    error = client.error(method, params)

    assert error["code"] == -32001
    assert error["data"]["retryAfterMs"] == 60_000
    assert "delete some" in error["message"]
    assert not house.store.threads.has("local", 3)
    client.call("thread/delete", {"threadId": threads[1].id})
    client.call("thread/start")
    house.connect("bob").call("thread/start")


def test_who_holds_all_the_bytes_that_are_allowed_says_no_more(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(stored_bytes=1000))
    thread = make_thread(house.store, house.config)
    client = house.connect()
    say(house, thread.id, "é" * 500)

    refused = client.error("turn/start", {"threadId": thread.id, "input": text_input("more")})

    assert refused["code"] == -32001
    assert len(house.store.turns.of_thread(thread.id, "local")) == 1
    assert client.error("thread/start", {})["code"] == -32001
    client.call("thread/delete", {"threadId": thread.id})
    client.call("thread/start")


def test_stored_bytes_follow_turns_forks_and_reverts(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = house.connect()
    first, second = say(house, thread.id, "x" * 100), say(house, thread.id, "y" * 50)
    held = house.store.threads.stored_bytes("local")

    assert held == size(first) + size(second)
    client.call("thread/fork", {"threadId": thread.id})
    assert house.store.threads.stored_bytes("local") == 2 * held
    client.call("thread/rollback", {"threadId": thread.id, "numTurns": 1})
    assert house.store.threads.stored_bytes("local") == held + size(first)


def say(house: House, thread_id: str, text: str) -> Item:
    """A turn that ended with one message."""
    make_turn(house.store, house.store.threads.get(thread_id, "local"))
    claim = claim_turn(house.store)
    item = make_message(house.store, claim, text)
    end_turn(house.store, claim)
    return item


def size(item: Item) -> int:
    """What the message takes: `item` and `model_items` as JSON."""
    text = (item.item or {})["text"]
    return len(f'{{"text":"{text}","phase":null}}'.encode()) + len("[]")


# -- connections


@contextmanager
def two_nodes(house: House) -> Iterator[tuple[str, str]]:
    """Addresses of two API processes over one Redis and one database."""
    other = replace(house.services, limits=limits.UserLimits(house.services.redis, house.store, house.config.limits))
    with serve(make_app(house.services)) as first, serve(make_app(other)) as second:
        yield first, second


def test_connections_count_on_all_nodes_and_on_both_transports(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(connections=2))
    thread = make_thread(house.store, house.config)
    http = make_app(house.services).test_client()
    events = f"/v2/thread/events?threadId={thread.id}"

    with two_nodes(house) as (one, other):
        first = connect(f"ws://{one}/")
        first.initialize()
        stream = http.get(events)
        refused = refusal(f"ws://{other}/")
        also = http.get(events)
        begun = http.post("/v2/thread/start", json={}, headers=STREAM)
        stream.close()
        assert refused.status_code == 429
        assert refused.resp_headers["retry-after"] == "5"
        assert (also.status_code, begun.status_code) == (429, 429)
        assert also.json["retryAfterMs"] == 5000
        assert not house.store.threads.has("local", 2), "a refused stream began a thread"

        second = connect(f"ws://{other}/")
        second.initialize()
        assert refusal(f"ws://{one}/").status_code == 429
        first.drop()
        second.drop()


def test_a_refused_or_failed_stream_leaves_no_place_taken(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(connections=1))
    thread = make_thread(house.store, house.config)
    http = make_app(house.services).test_client()

    for _ in range(3):
        assert http.get("/v2/thread/events?threadId=none").status_code in (400, 404)
        body = {"threadId": thread.id, "input": "wrong"}
        assert http.post("/v2/turn/start", json=body, headers=STREAM).status_code == 400

    assert open_stream(http, thread.id) == 200


def test_connections_of_a_killed_node_stop_counting(
    open_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "COUNTED_SECONDS", 0.2)
    house = open_house(limits=Limits(connections=1))
    killed = limits.UserLimits(house.services.redis, house.store, house.config.limits)
    monkeypatch.setattr(killed, "_keep_staying", lambda: None)  # it says no more
    killed.enter("local")
    thread = make_thread(house.store, house.config)
    http = make_app(house.services).test_client()

    assert open_stream(http, thread.id) == 429
    until(lambda: open_stream(http, thread.id) == 200)


def test_a_connection_that_lives_goes_on_counting_also_when_redis_forgot_it(open_house: Callable[..., House]) -> None:
    house = open_house(limits=Limits(connections=1))
    thread = make_thread(house.store, house.config)
    leave = house.services.limits.enter("local")
    http = make_app(house.services).test_client()

    house.services.redis.flushall()
    house.services.limits.stay()

    assert open_stream(http, thread.id) == 429
    leave()
    house.services.limits.stay()
    assert open_stream(http, thread.id) == 200


def open_stream(http: FlaskClient, thread_id: str) -> int:
    """The status of an event stream, which is closed again."""
    stream = http.get(f"/v2/thread/events?threadId={thread_id}")
    stream.close()
    return stream.status_code


def refusal(url: str) -> websocket.WebSocketBadStatusException:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        connect(url)
    return refused.value
