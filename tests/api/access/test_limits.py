"""Limits of one user: requests, waiting turns, threads, stored bytes, connections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import websocket
from flask.testing import FlaskClient
from sqlalchemy.exc import TimeoutError

from api.access import capacity, limits
from api.access.capacity import LARGE_REPLY_BYTES
from api.app import make_app
from api.delivery.close_codes import NORMAL
from shared.config import Limits
from shared.store.items import Item
from tests.api.methods.test_thread_fork import make_answered
from tests.builders import (
    Backend,
    claim_turn,
    end_turn,
    make_message,
    make_thread,
    make_turn,
    text_input,
)
from tests.support.protocol_client import connect
from tests.support.wsgi_server import serve

STREAM = {"Accept": "text/event-stream"}


def test_too_many_requests_are_refused_with_a_retry_time_on_both_transports(
    open_backend: Callable[..., Backend],
) -> None:
    backend = open_backend(limits=Limits(requests_per_minute=3))
    client = backend.connect()  # the handshake counts as one request

    for _ in range(2):
        client.call("account/read")
    error = client.error("account/read", {})
    answer = make_app(backend.services).test_client().post("/v2/account/read", json={})

    assert error["code"] == -32001
    assert error["data"]["codexErrorInfo"] == "server_overloaded"
    assert 1000 <= error["data"]["retryAfterMs"] <= 60_000
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_requests_are_counted_per_user(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(requests_per_minute=2))
    ann, bob = backend.connect("ann"), backend.connect("bob")

    ann.call("account/read")
    ann.error("account/read", {})

    assert bob.call("account/read")["userId"] == "bob"


def test_requests_are_not_limited_while_redis_is_away(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(requests_per_minute=1))
    client = backend.connect()
    backend.redis_server.connected = False

    answered = client.call("account/read")

    backend.redis_server.connected = True
    assert answered["userId"] == "local"


def test_requests_are_unlimited_by_default(backend: Backend) -> None:
    client = backend.connect()

    for _ in range(50):
        client.call("account/read")


def test_a_users_own_limit_wins_over_the_default(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(requests_per_minute=1))
    backend.store.limits.change("ann", {"requests_per_minute": 0})
    backend.store.limits.change("bob", {"requests_per_minute": 3})
    ann, bob = backend.connect("ann"), backend.connect("bob")

    for _ in range(5):
        ann.call("account/read")
    for _ in range(2):
        bob.call("account/read")

    assert bob.error("account/read", {})["code"] == -32001


def test_a_changed_limit_applies_after_the_cache_expires(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CACHE_SECONDS", 0)
    ann = backend.connect("ann")

    backend.store.limits.change("ann", {"requests_per_minute": 1})
    ann.call("account/read")
    assert ann.error("account/read", {})["code"] == -32001
    backend.store.limits.change("ann", {"requests_per_minute": None})

    ann.call("account/read")


def test_a_request_waits_once_for_a_database_that_is_away(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def away(user_id: str, defaults: Limits) -> Limits:
        asked.append(user_id)
        raise TimeoutError("the pool has no connection")

    monkeypatch.setattr(limits, "OUTAGE_SECONDS", 3600)
    monkeypatch.setattr(backend.store.limits, "of", away)
    applied = backend.services.limits

    assert applied.of("ann") == applied.of("ann") == backend.config.limits
    assert asked == ["ann"]


# -- turns that wait


def test_a_full_queue_refuses_turns_of_every_user(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(waiting_turns=2))
    for owner in ("ann", "bob"):
        make_turn(backend.store, make_thread(backend.store, backend.config, owner))
    thread = make_thread(backend.store, backend.config, "cy")

    error = backend.connect("cy").error("turn/start", {"threadId": thread.id, "input": text_input("hello")})

    assert error["code"] == -32001
    assert error["data"] == {"codexErrorInfo": "server_overloaded", "retryAfterMs": 1000}
    assert backend.store.turns.of_thread(thread.id, "cy") == []
    assert backend.store.threads.get(thread.id, "cy").preview == ""
    assert backend.store.recovery.all_users_count_phases()["queued"][0] == 2


# -- threads and their stored bytes


@pytest.mark.parametrize("method", ["thread/start", "thread/fork"])
def test_threads_beyond_the_limit_are_refused(open_backend: Callable[..., Backend], method: str) -> None:
    backend = open_backend(limits=Limits(threads=2))
    threads = [make_thread(backend.store, backend.config) for _ in range(2)]
    client = backend.connect()
    params = {"threadId": threads[0].id} if method == "thread/fork" else {}

    error = client.error(method, params)

    assert error["code"] == -32001
    assert error["data"]["retryAfterMs"] == 60_000
    assert "delete some" in error["message"]
    assert not backend.store.threads.has("local", 3)
    client.call("thread/delete", {"threadId": threads[1].id})
    client.call("thread/start")
    backend.connect("bob").call("thread/start")


def test_input_beyond_the_stored_bytes_is_refused(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(stored_bytes=1000))
    thread = make_thread(backend.store, backend.config)
    client = backend.connect()
    run_turn(backend, thread.id, "é" * 500)

    refused = client.error("turn/start", {"threadId": thread.id, "input": text_input("more")})

    assert refused["code"] == -32001
    assert len(backend.store.turns.of_thread(thread.id, "local")) == 1
    assert client.error("thread/start", {})["code"] == -32001
    client.call("thread/delete", {"threadId": thread.id})
    client.call("thread/start")


def test_stored_bytes_follow_turns_forks_and_reverts(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = backend.connect()
    first, second = run_turn(backend, thread.id, "x" * 100), run_turn(backend, thread.id, "y" * 50)
    stored = backend.store.threads.stored_bytes("local")

    assert stored == size(first) + size(second)
    client.call("thread/fork", {"threadId": thread.id})
    assert backend.store.threads.stored_bytes("local") == 2 * stored
    client.call("thread/rollback", {"threadId": thread.id, "numTurns": 1})
    assert backend.store.threads.stored_bytes("local") == stored + size(first)


def run_turn(backend: Backend, thread_id: str, text: str) -> Item:
    """Run a turn that ends with one message."""
    make_turn(backend.store, backend.store.threads.get(thread_id, "local"))
    claim = claim_turn(backend.store)
    item = make_message(backend.store, claim, text)
    end_turn(backend.store, claim)
    return item


def size(item: Item) -> int:
    """Return the stored bytes of a message: `item` and `model_items` as JSON."""
    return len(json.dumps(item.item, separators=(",", ":"), ensure_ascii=False).encode()) + len("[]")


# -- connections


@contextmanager
def two_nodes(backend: Backend) -> Iterator[tuple[str, str]]:
    """Yield the addresses of two API processes over one Redis and one database."""
    other = replace(
        backend.services, limits=limits.RequestLimits(backend.services.redis, backend.store, backend.config.limits)
    )
    with serve(make_app(backend.services)) as first, serve(make_app(other)) as second:
        yield first, second


@pytest.fixture
def crowded(open_backend: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A server with room for one large reply of a user."""
    monkeypatch.setattr(capacity, "REPLIES_BYTES", 3 * LARGE_REPLY_BYTES)
    return open_backend()


def test_large_replies_that_a_client_does_not_read_are_refused_until_it_has_read_some(crowded: Backend) -> None:
    thread = make_answered(crowded, "x" * LARGE_REPLY_BYTES)
    read = {"method": "thread/read", "params": {"threadId": thread.id, "includeTurns": True}}
    client, other = crowded.connect(), crowded.connect()
    client.call("account/read")

    for number in (101, 102):
        client.send({"id": number, **read})
    client.send({"id": 103, "method": "account/read", "params": {}})
    replies = [json.loads(frame.data) for frame in client.connection.dequeue(0.0)]
    assert [reply.get("error", {}).get("code") for reply in replies] == [None, -32001, None]
    assert other.error(**read)["code"] == -32001

    client.connection.dequeue(0.0)
    client.send({"id": 104, **read})
    client.connection.close(NORMAL, "over")
    assert other.error(**read)["code"] == -32001
    client.connection.discard()
    assert other.call(**read)["thread"]["id"] == thread.id


def test_a_large_reply_over_http_counts_until_it_was_written(crowded: Backend) -> None:
    thread = make_answered(crowded, "x" * LARGE_REPLY_BYTES)
    http = make_app(crowded.services).test_client()
    params = {"threadId": thread.id, "includeTurns": True}

    first = http.post("/v2/thread/read", json=params)
    refused = [http.post("/v2/thread/read", json=params), http.post("/v2/thread/resume", json=params, headers=STREAM)]
    first.close()
    later = http.post("/v2/thread/read", json=params)

    assert [answer.status_code for answer in (first, *refused, later)] == [200, 429, 429, 200]


def test_connections_are_counted_across_nodes_and_transports(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(connections=2))
    thread = make_thread(backend.store, backend.config)
    http = make_app(backend.services).test_client()
    events = f"/v2/thread/events?threadId={thread.id}"

    with two_nodes(backend) as (one, other):
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
        assert not backend.store.threads.has("local", 2), "a refused stream began a thread"

        second = connect(f"ws://{other}/")
        second.initialize()
        assert refusal(f"ws://{one}/").status_code == 429
        first.drop()
        second.drop()


def test_a_refused_or_failed_stream_is_not_counted(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(limits=Limits(connections=1))
    thread = make_thread(backend.store, backend.config)
    http = make_app(backend.services).test_client()

    for _ in range(3):
        assert http.get("/v2/thread/events?threadId=none").status_code in (400, 404)
        body = {"threadId": thread.id, "input": "wrong"}
        assert http.post("/v2/turn/start", json=body, headers=STREAM).status_code == 400

    assert open_stream(http, thread.id) == 200


def test_connections_of_a_killed_node_stop_counting(
    open_backend: Callable[..., Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend(limits=Limits(connections=1))
    killed = limits.RequestLimits(backend.services.redis, backend.store, backend.config.limits)
    monkeypatch.setattr(killed, "_renew_forever", lambda: None)  # as a killed process does
    killed.count_connection("local")
    thread = make_thread(backend.store, backend.config)
    http = make_app(backend.services).test_client()

    assert open_stream(http, thread.id) == 429
    pass_time(backend, limits.COUNTED_SECONDS)
    assert open_stream(http, thread.id) == 200


def pass_time(backend: Backend, seconds: float) -> None:
    """Let the connections of the local user expire sooner, as if this time had passed."""
    redis = backend.services.redis
    for name in redis.zrange("connections:local", 0, -1):
        redis.zincrby("connections:local", -seconds * 1000, name)


def test_an_open_connection_is_counted_again_after_redis_lost_it(
    open_backend: Callable[..., Backend],
) -> None:
    backend = open_backend(limits=Limits(connections=1))
    thread = make_thread(backend.store, backend.config)
    leave = backend.services.limits.count_connection("local")
    http = make_app(backend.services).test_client()

    backend.services.redis.flushall()
    backend.services.limits.renew()

    assert open_stream(http, thread.id) == 429
    leave()
    backend.services.limits.renew()
    assert open_stream(http, thread.id) == 200


def open_stream(http: FlaskClient, thread_id: str) -> int:
    """Open an event stream, close it and return its status."""
    stream = http.get(f"/v2/thread/events?threadId={thread_id}")
    stream.close()
    return stream.status_code


def refusal(url: str) -> websocket.WebSocketBadStatusException:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        connect(url)
    return refused.value
