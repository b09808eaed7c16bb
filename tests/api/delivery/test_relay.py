"""Following a thread: no gaps, no repetition, replies before events, slow clients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from api.delivery.connection import PAGE_ENTRIES
from api.delivery.frames import Frame
from api.delivery.outgoing import MAX_QUEUED_FRAMES
from shared.events import durable_events
from shared.events.log import Event
from shared.store.threads import Thread
from shared.store.users import LOCAL_USER
from tests.api.transport.test_dispatch import fail_to_store
from tests.builders import (
    Backend,
    Client,
    claim_turn,
    delta,
    end_turn,
    is_interrupted,
    make_message,
    make_thread,
    make_turn,
)
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


def follow(backend: Backend, thread: Thread, **params: object) -> Client:
    client = backend.connect()
    client.call("thread/resume", {"threadId": thread.id, **params})
    return client


def test_a_follower_gets_every_event_once_and_in_order(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = follow(backend, thread)

    backend.publish(thread, start_item(thread, "a"))
    for number in range(100):
        backend.publish(thread, delta(thread.id, "a", f"{number} "))
    backend.publish(thread, end_item(thread, "a", "all"))

    client.wait_for_method("item/completed")
    assert client.text("a") == "".join(f"{number} " for number in range(100))
    ids = [frame["eventId"] for frame in client.frames if "method" in frame]
    assert len(ids) == len(set(ids)) == 102


def test_a_follower_gets_large_events_in_their_place(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = follow(backend, thread)

    backend.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "x" * 200_000), delta(thread.id, "a", "y"))
    backend.publish(thread, end_item(thread, "a", "done"))
    client.wait_for(lambda frame: frame.get("method") == "item/completed")

    texts = [frame["params"]["delta"] for frame in client.frames if frame.get("method", "").endswith("delta")]
    assert "".join(texts) == "x" * 200_000 + "y"


def test_a_resume_that_failed_may_be_repeated_and_replays_what_is_open(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = make_thread(backend.store, backend.config)
    backend.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "so far"))
    client = backend.connect()

    with monkeypatch.context() as broken:
        broken.setattr(type(backend.store.threads), "change_settings", fail_to_store)
        client.error("thread/resume", {"threadId": thread.id})
    client.call("thread/resume", {"threadId": thread.id})

    replayed = client.wait_for(lambda frame: frame.get("method") == "item/agentMessage/delta")
    assert replayed["params"]["delta"] == "so far"


def test_a_new_follower_gets_the_start_and_text_so_far_of_an_open_item(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    backend.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "Hello"), delta(thread.id, "a", ", "))

    client = follow(backend, thread)
    backend.publish(thread, delta(thread.id, "a", "world"))

    client.wait_for_delta("world")
    assert client.methods() == ["item/started", "item/agentMessage/delta", "item/agentMessage/delta"]
    assert client.text("a") == "Hello, world"
    with_ids = ["eventId" in frame for frame in client.frames if "method" in frame]
    assert with_ids == [False, True, True]


def test_events_of_items_completed_in_the_reply_are_not_sent(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    item = make_message(backend.store, claim, "done")
    backend.publish(thread, durable_events.item_started(item), delta(thread.id, item.id, "done"))

    client = backend.connect()
    result = client.call("thread/resume", {"threadId": thread.id})
    backend.publish(thread, durable_events.item_completed(item), delta(thread.id, "next", "x"))

    client.wait_for_delta("x")
    assert [one["id"] for one in result["thread"]["turns"][0]["items"]] == [item.id]
    assert client.methods() == ["item/agentMessage/delta"]


def test_events_are_sent_after_the_reply_to_a_request_on_their_thread(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = follow(backend, thread)
    client.connection.pause(thread.id)  # as dispatch does while a request is in flight
    backend.publish(thread, delta(thread.id, "a", "early"))
    backend.connect().call(
        "thread/resume", {"threadId": thread.id}
    )  # a round trip, after which the announcement has arrived

    client.connection.send([Frame(b'{"id":"reply"}')])
    client.connection.unpause(thread.id)

    client.wait_for_delta("early")
    assert [frame.get("id") or frame["method"] for frame in client.frames[-2:]] == ["reply", "item/agentMessage/delta"]


def test_events_that_a_request_causes_follow_its_reply(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = follow(backend, thread)
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)

    def work() -> None:
        until(lambda: is_interrupted(backend.store, claim.turn_id))
        backend.publish(thread, delta(thread.id, "a", "last words"))
        end_turn(backend.store, claim, "interrupted")

    worker = threading.Thread(target=work)
    worker.start()
    client.call("thread/archive", {"threadId": thread.id})  # replies when the turn has ended
    worker.join()

    client.wait_for_delta("last words")
    words = client.frames.index(client.wait_for_delta("last words"))
    replies = [index for index, frame in enumerate(client.frames) if "method" not in frame]
    assert replies[-1] < words


def test_an_event_that_was_read_from_the_log_is_not_delivered_again(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = follow(backend, thread)
    backend.publish(thread, delta(thread.id, "a", "once"))
    client.wait_for_delta("once")

    late = [Frame.of_entry(entry) for entry in backend.services.events.read(thread.id, "0-0")]
    client.connection.deliver(thread.id, late)

    assert client.connection.dequeue(0.0) == []


def test_a_slow_client_misses_nothing(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    slow, quick = follow(backend, thread), follow(backend, thread)
    count = MAX_QUEUED_FRAMES + 3 * PAGE_ENTRIES

    for number in range(count):
        backend.publish(thread, delta(thread.id, "a", f"{number} "))
        if number % 100 == 99:
            quick.wait_for_delta(f"{number} ")
    backend.publish(thread, delta(thread.id, "a", "end"))
    quick.wait_for_delta("end")

    assert len(slow.connection._outgoing) == MAX_QUEUED_FRAMES
    slow.wait_for_delta("end")
    assert slow.text("a") == quick.text("a") == "".join(f"{number} " for number in range(count)) + "end"

    backend.publish(thread, delta(thread.id, "a", "live"))
    slow.wait_for_delta("live")


def test_a_client_whose_next_event_was_trimmed_is_closed_with_4409(
    open_backend: Callable[..., Backend],
) -> None:
    backend = open_backend(server={"event_log_length": 50})
    thread = make_thread(backend.store, backend.config)
    slow, quick = follow(backend, thread), follow(backend, thread)
    for number in range(MAX_QUEUED_FRAMES + 300):
        backend.publish(thread, delta(thread.id, "a", f"{number} "))
        if number % 40 == 39:
            quick.wait_for_delta(f"{number} ")

    over = slow.closed()

    assert over.code == 4409
    assert "resume" in over.reason


def test_durable_events_republished_after_redis_lost_its_log_are_sent_once(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    client = follow(backend, thread)
    turn = claim_turn(backend.store).turn
    backend.publish(thread, *durable_events.turn_started(turn), start_item(thread, "a"))
    client.wait_for_method("item/started")

    backend.services.redis.flushall()
    backend.publish(thread, *durable_events.turn_started(turn), start_item(thread, "a"), end_item(thread, "a", "x"))

    client.wait_for_method("item/completed")
    assert client.methods() == ["thread/status/changed", "turn/started", "item/started", "item/completed"]


def test_a_client_with_a_cursor_gets_only_later_events(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    first = follow(backend, thread)
    backend.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "one"))
    seen = first.wait_for_delta("one")["eventId"]
    backend.publish(thread, delta(thread.id, "a", "two"))

    second = follow(backend, thread, afterEventId=seen)
    backend.publish(thread, delta(thread.id, "a", "three"))

    second.wait_for_delta("three")
    assert second.text("a") == "twothree"
    assert second.methods() == ["item/agentMessage/delta", "item/agentMessage/delta"]


def test_the_reply_that_subscribes_carries_the_cursor(backend: Backend) -> None:
    starter, bystander = backend.connect(), backend.connect()
    first = starter.reply("thread/start", {})
    bystander.wait_for_method("thread/started")  # else `second` gets it twice: now, and after its cursor
    thread = backend.store.threads.find(first["result"]["thread"]["id"], LOCAL_USER)
    assert thread is not None
    backend.publish(thread, start_item(thread, "a"), end_item(thread, "a", "x"))

    second = backend.connect()
    reply = second.reply("thread/resume", {"threadId": thread.id, "afterEventId": first["eventId"]})

    assert reply["eventId"] == first["eventId"]
    second.wait_for_method("item/completed")
    assert second.methods() == ["thread/started", "item/started", "item/completed"]
    assert backend.connect().reply("thread/resume", {"threadId": thread.id})["eventId"] == second.frames[-1]["eventId"]


def test_resume_with_a_trimmed_cursor_returns_the_turns(open_backend: Callable[..., Backend]) -> None:
    backend = open_backend(server={"event_log_length": 2})
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    backend.publish(thread, *(delta(thread.id, "a", f"{number} ") for number in range(400)))
    wanted = {"threadId": thread.id, "excludeTurns": True}
    event_id = backend.connect().reply("thread/resume", wanted)["eventId"]

    resumed = backend.connect().call("thread/resume", {**wanted, "afterEventId": event_id})
    trimmed = backend.connect().call("thread/resume", {**wanted, "afterEventId": "1-0"})

    assert resumed["thread"]["turns"] == []
    assert [turn["status"] for turn in trimmed["thread"]["turns"]] == ["inProgress"]


def test_resume_with_a_cursor_of_a_lost_log_returns_the_turns(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    started = Event("thread/started", {"thread": {"id": thread.id}})
    backend.publish(thread, started, delta(thread.id, "a", "one"))
    had = backend.connect().reply("thread/resume", {"threadId": thread.id})["eventId"]
    wanted = {"threadId": thread.id, "excludeTurns": True, "afterEventId": had}
    assert backend.connect().call("thread/resume", wanted)["thread"]["turns"] == []
    backend.publish(thread, delta(thread.id, "a", "what the client missed"))
    make_turn(backend.store, thread)
    end_turn(backend.store, claim_turn(backend.store))

    backend.services.events.delete(thread.id)  # as Redis does after an hour without events
    expired = backend.connect().call("thread/resume", wanted)
    backend.publish(thread, delta(thread.id, "b", "in the new log"))
    begun_anew = backend.connect().call("thread/resume", wanted)

    for result in (expired, begun_anew):
        assert [turn["status"] for turn in result["thread"]["turns"]] == ["completed"]


def test_a_malformed_cursor_is_refused(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)

    error = backend.connect().error("thread/resume", {"threadId": thread.id, "afterEventId": "yesterday"})

    assert error["code"] == -32602


def test_a_second_resume_on_a_connection_repeats_no_events(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = follow(backend, thread)
    backend.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "one"))
    client.wait_for_delta("one")

    client.call("thread/resume", {"threadId": thread.id})
    backend.publish(thread, delta(thread.id, "a", "two"))

    client.wait_for_delta("two")
    assert client.methods() == ["item/started", "item/agentMessage/delta", "item/agentMessage/delta"]


@pytest.mark.parametrize("cursor", [True, False], ids=["with a cursor", "without"])
def test_an_approval_request_is_sent_once_and_after_its_item(backend: Backend, cursor: bool) -> None:
    thread = make_thread(backend.store, backend.config)
    backend.publish(thread, Event("thread/started", {"thread": {"id": thread.id}}))
    event_id = backend.connect().reply("thread/resume", {"threadId": thread.id})["eventId"]
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1, "command": "ls"}
    approval = backend.store.claims.park(claim, APPROVAL, "i", params, [], expires_in_ms=60_000)
    backend.publish(thread, start_item(thread, "i"), *durable_events.approval_requested(approval))

    client = follow(backend, thread, **({"afterEventId": event_id} if cursor else {}))
    backend.publish(thread, delta(thread.id, "i", "after"))

    client.wait_for_delta("after")
    methods = client.methods()
    assert methods.index("item/started") < methods.index(APPROVAL)
    assert methods.count(APPROVAL) == methods.count("item/started") == 1


def test_a_cursor_taken_from_any_frame_skips_nothing(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = backend.connect()
    named = Event("thread/name/updated", {"threadId": thread.id, "threadName": "x"})
    event_id = backend.connect().reply("thread/resume", {"threadId": thread.id})["eventId"]
    backend.publish(thread, start_item(thread, "a"), named)
    client.wait_for_method("thread/name/updated")

    seen = [frame["eventId"] for frame in client.frames if "eventId" in frame]
    client.call("thread/resume", {"threadId": thread.id, "afterEventId": max([event_id, *seen])})

    client.wait_for_method("item/started")


def test_user_notifications_reach_followers_and_the_owners_other_connections_once(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    follower, other, stranger = follow(backend, thread), backend.connect(), backend.connect("somebody-else")

    follower.call("thread/name/set", {"threadId": thread.id, "name": "A name"})
    backend.publish(thread, delta(thread.id, "a", "for followers"))

    follower.wait_for_delta("for followers")
    other.wait_for_method("thread/name/updated")
    assert follower.methods() == ["thread/name/updated", "item/agentMessage/delta"]
    assert other.methods() == ["thread/name/updated"]
    assert stranger.connection.dequeue(0.0) == []


def test_notifications_that_a_client_opted_out_of_are_not_sent(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client = backend.connect(optOutNotificationMethods=["item/agentMessage/delta"])
    client.call("thread/resume", {"threadId": thread.id})

    backend.publish(thread, start_item(thread, "a"), delta(thread.id, "a", "x"), end_item(thread, "a", "x"))

    client.wait_for_method("item/completed")
    assert client.methods() == ["item/started", "item/completed"]


def test_unsubscribing_ends_a_threads_events(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    client, other = follow(backend, thread), follow(backend, thread)

    assert client.call("thread/unsubscribe", {"threadId": thread.id}) == {"status": "unsubscribed"}
    backend.publish(thread, delta(thread.id, "a", "x"))

    other.wait_for_delta("x")
    assert client.connection.dequeue(0.0) == []
    assert client.call("thread/unsubscribe", {"threadId": thread.id}) == {"status": "notSubscribed"}


def test_resume_sends_a_pending_approval_request_again_under_its_id(backend: Backend) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    params = {"threadId": thread.id, "turnId": claim.turn_id, "itemId": "i", "startedAtMs": 1, "command": "ls"}
    method = "item/commandExecution/requestApproval"
    request_id = backend.store.claims.park(claim, method, "i", params, [], expires_in_ms=60_000).id

    client = backend.connect()
    result = client.call("thread/resume", {"threadId": thread.id})

    asked = client.wait_for_method(method)
    assert asked["id"] == request_id
    assert result["thread"]["status"] == {"type": "active", "activeFlags": ["waitingOnApproval"]}


@pytest.mark.parametrize("delivered", [False, True])
def test_a_turn_is_open_until_its_end_was_delivered(backend: Backend, delivered: bool) -> None:
    thread = make_thread(backend.store, backend.config)
    make_turn(backend.store, thread)
    claim = claim_turn(backend.store)
    client = follow(backend, thread)
    turn = end_turn(backend.store, claim)

    if delivered:
        durable_events.publish_missing(backend.store, backend.services.events, turn)
        client.wait_for_method("turn/completed")

    assert client.connection.open_turn(thread.id) == (None if delivered else turn.id)


def test_notifications_about_other_threads_wake_a_client_that_follows_none(backend: Backend) -> None:
    client = backend.connect()
    thread = make_thread(backend.store, backend.config)
    sleeping = threading.Thread(target=client.wait_for_method, args=("thread/name/updated",), daemon=True)
    sleeping.start()

    backend.connect().call("thread/name/set", {"threadId": thread.id, "name": "new"})

    sleeping.join(50)  # it would wake by itself after a minute
    assert not sleeping.is_alive()
