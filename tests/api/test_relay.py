"""Following a thread: no gap, no repetition, replies before events, slow clients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from api import connection as connections
from shared import announcements
from shared.events import Event
from shared.store.threads import Thread
from shared.store.users import LOCAL_USER
from tests.builders import Client, House, claim_turn, delta, end_turn, make_message, make_thread, make_turn
from tests.support.wait import until

APPROVAL = "item/commandExecution/requestApproval"


def start_item(thread: Thread, item_id: str) -> Event:
    params: dict[str, Any] = {"threadId": thread.id, "turnId": "T"}
    params["item"] = {"type": "agentMessage", "id": item_id, "text": ""}
    params["startedAtMs"] = 1
    return Event("item/started", params, key=f"item:{item_id}:started", item_id=item_id, role="start")


def end_item(thread: Thread, item_id: str, text: str) -> Event:
    params: dict[str, Any] = {"threadId": thread.id, "turnId": "T"}
    params["item"] = {"type": "agentMessage", "id": item_id, "text": text}
    params["completedAtMs"] = 2
    return Event("item/completed", params, key=f"item:{item_id}:completed", item_id=item_id, role="end")


def follow(house: House, thread: Thread, **params: object) -> Client:
    client = house.connect()
    client.call("thread/resume", {"threadId": thread.id, **params})
    return client


def test_a_follower_gets_every_event_once_and_in_order(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = follow(house, thread)

    house.publish(thread, start_item(thread, "a"))
    for number in range(100):
        house.publish(thread, delta(thread.id, "a", f"{number} "))
    house.publish(thread, end_item(thread, "a", "all"))

    client.wait_for_method("item/completed")
    assert client.text("a") == "".join(f"{number} " for number in range(100))
    ids = [frame["eventId"] for frame in client.frames if "method" in frame]
    assert len(ids) == len(set(ids)) == 102


def test_who_comes_while_an_item_is_open_gets_its_beginning_and_its_text_so_far(house: House) -> None:
    thread = make_thread(house.store, house.config)
    house.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "Hello"), delta(thread.id, "a", ", "))

    client = follow(house, thread)
    house.publish(thread, delta(thread.id, "a", "world"))

    client.wait_for_delta("world")
    assert client.methods() == ["item/started", "item/agentMessage/delta", "item/agentMessage/delta"]
    assert client.text("a") == "Hello, world"
    with_ids = ["eventId" in frame for frame in client.frames if "method" in frame]
    assert with_ids == [False, True, True]


def test_what_the_reply_contains_as_completed_is_not_told_again(house: House) -> None:
    thread = make_thread(house.store, house.config)
    make_turn(house.store, thread)
    claim = claim_turn(house.store)
    item = make_message(house.store, claim, "done")
    house.publish(thread, announcements.item_started(item), delta(thread.id, item.id, "done"))  # its end is not out yet

    client = house.connect()
    result = client.call("thread/resume", {"threadId": thread.id})
    house.publish(thread, announcements.item_completed(item), delta(thread.id, "next", "x"))

    client.wait_for_delta("x")
    assert [one["id"] for one in result["thread"]["turns"][0]["items"]] == [item.id]
    assert client.methods() == ["item/agentMessage/delta"]


def test_events_wait_for_the_reply_of_a_request_on_their_thread(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = follow(house, thread)
    client.connection.hold(thread.id)  # as dispatch does while a request is in flight
    house.publish(thread, delta(thread.id, "a", "early"))
    house.connect().call("thread/resume", {"threadId": thread.id})  # a round trip: the announcement has arrived

    client.connection.send([connections.Frame(b'{"id":"reply"}')])
    client.connection.release(thread.id)

    client.wait_for_delta("early")
    assert [frame.get("id") or frame["method"] for frame in client.frames[-2:]] == ["reply", "item/agentMessage/delta"]


def test_what_a_request_causes_while_it_is_in_flight_follows_its_reply(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = follow(house, thread)
    make_turn(house.store, thread)
    claim = claim_turn(house.store)

    def work() -> None:
        until(lambda: house.store.turns.is_interrupted(claim.turn_id))
        house.publish(thread, delta(thread.id, "a", "last words"))
        end_turn(house.store, claim, "interrupted")

    worker = threading.Thread(target=work)
    worker.start()
    client.call("thread/archive", {"threadId": thread.id})  # answers when the turn is over
    worker.join()

    client.wait_for_delta("last words")
    words = client.frames.index(client.wait_for_delta("last words"))
    replies = [place for place, frame in enumerate(client.frames) if "method" not in frame]
    assert replies[-1] < words


def test_an_announcement_that_comes_after_its_event_was_read_from_the_log_is_dropped(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = follow(house, thread)
    house.publish(thread, delta(thread.id, "a", "once"))
    client.wait_for_delta("once")

    late = [connections.Frame.of(entry) for entry in house.services.events.read(thread.id, "0-0")]
    client.connection.offer(thread.id, late)

    assert client.connection.take(0.0) == []


def test_a_slow_client_reads_the_log_at_its_own_pace_and_misses_nothing(house: House) -> None:
    thread = make_thread(house.store, house.config)
    slow, quick = follow(house, thread), follow(house, thread)
    count = connections.MAX_QUEUED_FRAMES + 3 * connections.PAGE_ENTRIES

    for number in range(count):
        house.publish(thread, delta(thread.id, "a", f"{number} "))
        if number % 100 == 99:
            quick.wait_for_delta(f"{number} ")
    house.publish(thread, delta(thread.id, "a", "end"))
    quick.wait_for_delta("end")

    assert len(slow.connection._frames) == connections.MAX_QUEUED_FRAMES
    slow.wait_for_delta("end")
    assert slow.text("a") == quick.text("a") == "".join(f"{number} " for number in range(count)) + "end"

    house.publish(thread, delta(thread.id, "a", "live"))
    slow.wait_for_delta("live")


def test_a_client_that_fell_off_the_log_is_closed_with_the_documented_code(open_house: Callable[..., House]) -> None:
    house = open_house(server={"event_log_length": 50})
    thread = make_thread(house.store, house.config)
    slow, quick = follow(house, thread), follow(house, thread)
    for number in range(connections.MAX_QUEUED_FRAMES + 300):
        house.publish(thread, delta(thread.id, "a", f"{number} "))
        if number % 40 == 39:
            quick.wait_for_delta(f"{number} ")

    over = slow.closed()

    assert over.code == 4409
    assert "resume" in over.reason


def test_durable_events_that_come_again_after_redis_lost_its_log_are_told_once(house: House) -> None:
    thread = make_thread(house.store, house.config)
    make_turn(house.store, thread)
    client = follow(house, thread)
    turn = claim_turn(house.store).turn
    house.publish(thread, *announcements.turn_started(turn), start_item(thread, "a"))
    client.wait_for_method("item/started")

    house.services.redis.flushall()
    house.publish(thread, *announcements.turn_started(turn), start_item(thread, "a"), end_item(thread, "a", "x"))

    client.wait_for_method("item/completed")
    assert client.methods() == ["thread/status/changed", "turn/started", "item/started", "item/completed"]


def test_a_client_with_a_cursor_gets_just_what_came_after_it(house: House) -> None:
    thread = make_thread(house.store, house.config)
    first = follow(house, thread)
    house.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "one"))
    seen = first.wait_for_delta("one")["eventId"]
    house.publish(thread, delta(thread.id, "a", "two"))

    second = follow(house, thread, afterEventId=seen)
    house.publish(thread, delta(thread.id, "a", "three"))

    second.wait_for_delta("three")
    assert second.text("a") == "twothree"
    assert second.methods() == ["item/agentMessage/delta", "item/agentMessage/delta"]


def test_the_reply_that_subscribes_says_from_where_on_events_follow(house: House) -> None:
    first = house.connect().reply("thread/start", {})
    thread = house.store.threads.find(first["result"]["thread"]["id"], LOCAL_USER)
    assert thread is not None
    house.publish(thread, start_item(thread, "a"), end_item(thread, "a", "x"))

    second = house.connect()
    reply = second.reply("thread/resume", {"threadId": thread.id, "afterEventId": first["eventId"]})

    assert reply["eventId"] == first["eventId"]
    second.wait_for_method("item/completed")
    assert second.methods() == ["thread/started", "item/started", "item/completed"]
    assert house.connect().reply("thread/resume", {"threadId": thread.id})["eventId"] == second.frames[-1]["eventId"]


def test_a_cursor_that_the_log_no_longer_holds_is_answered_with_the_turns(open_house: Callable[..., House]) -> None:
    house = open_house(server={"event_log_length": 2})
    thread = make_thread(house.store, house.config)
    make_turn(house.store, thread)
    house.publish(thread, *(delta(thread.id, "a", f"{number} ") for number in range(400)))
    wanted = {"threadId": thread.id, "excludeTurns": True}
    place = house.connect().reply("thread/resume", wanted)["eventId"]

    held = house.connect().call("thread/resume", {**wanted, "afterEventId": place})
    fallen_off = house.connect().call("thread/resume", {**wanted, "afterEventId": "1-0"})

    assert held["thread"]["turns"] == []
    assert [turn["status"] for turn in fallen_off["thread"]["turns"]] == ["inProgress"]


def test_a_cursor_from_before_the_log_was_lost_is_answered_with_the_turns(house: House) -> None:
    thread = make_thread(house.store, house.config)
    started = Event("thread/started", {"thread": {"id": thread.id}})
    house.publish(thread, started, delta(thread.id, "a", "one"))
    had = house.connect().reply("thread/resume", {"threadId": thread.id})["eventId"]
    wanted = {"threadId": thread.id, "excludeTurns": True, "afterEventId": had}
    assert house.connect().call("thread/resume", wanted)["thread"]["turns"] == []
    house.publish(thread, delta(thread.id, "a", "what the client missed"))
    make_turn(house.store, thread)
    end_turn(house.store, claim_turn(house.store))

    house.services.events.delete(thread.id)  # as an hour without events does
    expired = house.connect().call("thread/resume", wanted)
    house.publish(thread, delta(thread.id, "b", "in the new log"))
    begun_anew = house.connect().call("thread/resume", wanted)

    for result in (expired, begun_anew):
        assert [turn["status"] for turn in result["thread"]["turns"]] == ["completed"]


def test_a_cursor_that_is_none_is_refused(house: House) -> None:
    thread = make_thread(house.store, house.config)

    error = house.connect().error("thread/resume", {"threadId": thread.id, "afterEventId": "yesterday"})

    assert error["code"] == -32602


def test_resuming_again_on_the_same_connection_repeats_nothing(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = follow(house, thread)
    house.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "one"))
    client.wait_for_delta("one")

    client.call("thread/resume", {"threadId": thread.id})
    house.publish(thread, delta(thread.id, "a", "two"))

    client.wait_for_delta("two")
    assert client.methods() == ["item/started", "item/agentMessage/delta", "item/agentMessage/delta"]


@pytest.mark.parametrize("cursor", [True, False], ids=["with a cursor", "without"])
def test_a_question_comes_once_and_behind_the_item_that_it_is_about(house: House, cursor: bool) -> None:
    thread = make_thread(house.store, house.config)
    house.publish(thread, Event("thread/started", {"thread": {"id": thread.id}}))
    place = house.connect().reply("thread/resume", {"threadId": thread.id})["eventId"]
    make_turn(house.store, thread)
    claim = claim_turn(house.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1, "command": "ls"}
    approval = house.store.turns.park(claim, APPROVAL, "i", params, [], expires_in_ms=60_000)
    house.publish(thread, start_item(thread, "i"), *announcements.question_asked(approval))

    client = follow(house, thread, **({"afterEventId": place} if cursor else {}))
    house.publish(thread, delta(thread.id, "i", "after"))

    client.wait_for_delta("after")
    methods = client.methods()
    assert methods.index("item/started") < methods.index(APPROVAL)
    assert methods.count(APPROVAL) == methods.count("item/started") == 1


def test_events_of_scope_all_reach_the_owners_other_connections_and_followers_once(house: House) -> None:
    thread = make_thread(house.store, house.config)
    follower, other, stranger = follow(house, thread), house.connect(), house.connect("somebody-else")

    follower.call("thread/name/set", {"threadId": thread.id, "name": "A name"})
    house.publish(thread, delta(thread.id, "a", "for followers"))

    follower.wait_for_delta("for followers")
    other.wait_for_method("thread/name/updated")
    assert follower.methods() == ["thread/name/updated", "item/agentMessage/delta"]
    assert other.methods() == ["thread/name/updated"]
    assert stranger.connection.take(0.0) == []


def test_a_connection_does_not_get_what_it_opted_out_of(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client = house.connect(optOutNotificationMethods=["item/agentMessage/delta"])
    client.call("thread/resume", {"threadId": thread.id})

    house.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "x"), end_item(thread, "a", "x"))

    client.wait_for_method("item/completed")
    assert client.methods() == ["item/started", "item/completed"]


def test_after_unsubscribing_nothing_of_the_thread_arrives(house: House) -> None:
    thread = make_thread(house.store, house.config)
    client, other = follow(house, thread), follow(house, thread)

    assert client.call("thread/unsubscribe", {"threadId": thread.id}) == {"status": "unsubscribed"}
    house.publish(thread, delta(thread.id, "a", "x"))

    other.wait_for_delta("x")
    assert client.connection.take(0.0) == []
    assert client.call("thread/unsubscribe", {"threadId": thread.id}) == {"status": "notSubscribed"}


def test_an_open_question_is_asked_again_after_a_resume_under_its_old_id(house: House) -> None:
    thread = make_thread(house.store, house.config)
    make_turn(house.store, thread)
    claim = claim_turn(house.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1, "command": "ls"}
    method = "item/commandExecution/requestApproval"
    request_id = house.store.turns.park(claim, method, "i", params, [], expires_in_ms=60_000).id

    client = house.connect()
    result = client.call("thread/resume", {"threadId": thread.id})

    asked = client.wait_for_method(method)
    assert asked["id"] == request_id
    assert result["thread"]["status"] == {"type": "active", "activeFlags": ["waitingOnApproval"]}


@pytest.mark.parametrize("told", [False, True])
def test_a_turn_whose_end_nobody_heard_of_is_awaited(house: House, told: bool) -> None:
    thread = make_thread(house.store, house.config)
    make_turn(house.store, thread)
    claim = claim_turn(house.store)
    client = follow(house, thread)
    turn = end_turn(house.store, claim)

    if told:
        announcements.announce(house.store, house.services.events, turn)
        client.wait_for_method("turn/completed")

    assert client.connection.awaits_end_of(thread.id) == (None if told else turn.id)
