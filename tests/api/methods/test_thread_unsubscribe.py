"""thread/unsubscribe: what it answers; that nothing more is heard stands in tests/api/test_relay.py."""

from __future__ import annotations

from shared.ids import new_id
from tests.builders import House, make_thread, make_turn


def status(house: House, thread_id: str, owner: str = "local") -> str:
    answer: str = house.connect(owner).call("thread/unsubscribe", {"threadId": thread_id})["status"]
    return answer


def test_a_thread_that_is_not_there_is_not_loaded(house: House) -> None:
    assert status(house, new_id()) == "notLoaded"


def test_somebody_elses_thread_is_answered_like_one_that_is_not_there(house: House) -> None:
    assert status(house, make_thread(house.store, house.config, "ann").id, "bob") == "notLoaded"


def test_a_thread_of_ones_own_that_one_does_not_follow(house: House) -> None:
    used = make_thread(house.store, house.config)
    unused, busy = (make_thread(house.store, house.config, used_at_ms=0) for _ in range(2))
    make_turn(house.store, busy)

    assert [status(house, thread.id) for thread in (used, unused, busy)] == [
        "notSubscribed",
        "notLoaded",
        "notSubscribed",
    ]


def test_it_is_left_on_one_connection_and_its_turn_goes_on(house: House) -> None:
    client, other = house.connect(), house.connect()
    thread_id = client.call("thread/start")["thread"]["id"]
    other.call("thread/resume", {"threadId": thread_id})
    client.call("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "hello"}]})

    assert client.call("thread/unsubscribe", {"threadId": thread_id}) == {"status": "unsubscribed"}

    read = client.call("thread/read", {"threadId": thread_id})["thread"]
    assert read["status"]["type"] == "active"
    assert other.call("thread/unsubscribe", {"threadId": thread_id}) == {"status": "unsubscribed"}
