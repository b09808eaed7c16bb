"""thread/unsubscribe: its result. That no more events arrive is tested in tests/api/delivery/test_relay.py."""

from __future__ import annotations

from shared.ids import new_id
from tests.builders import Backend, make_thread, make_turn


def status(backend: Backend, thread_id: str, owner: str = "local") -> str:
    answer: str = backend.connect(owner).call("thread/unsubscribe", {"threadId": thread_id})["status"]
    return answer


def test_an_unknown_thread_is_not_loaded(backend: Backend) -> None:
    assert status(backend, new_id()) == "notLoaded"


def test_another_users_thread_is_answered_like_an_unknown_one(backend: Backend) -> None:
    assert status(backend, make_thread(backend.store, backend.config, "ann").id, "bob") == "notLoaded"


def test_a_thread_that_the_connection_does_not_follow(backend: Backend) -> None:
    used = make_thread(backend.store, backend.config)
    unused, busy = (make_thread(backend.store, backend.config, used_at_ms=0) for _ in range(2))
    make_turn(backend.store, busy)

    assert [status(backend, thread.id) for thread in (used, unused, busy)] == [
        "notSubscribed",
        "notLoaded",
        "notSubscribed",
    ]


def test_only_this_connection_stops_following_and_the_turn_goes_on(backend: Backend) -> None:
    client, other = backend.connect(), backend.connect()
    thread_id = client.call("thread/start")["thread"]["id"]
    other.call("thread/resume", {"threadId": thread_id})
    client.call("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "hello"}]})

    assert client.call("thread/unsubscribe", {"threadId": thread_id}) == {"status": "unsubscribed"}

    read = client.call("thread/read", {"threadId": thread_id})["thread"]
    assert read["status"]["type"] == "active"
    assert other.call("thread/unsubscribe", {"threadId": thread_id}) == {"status": "unsubscribed"}
