"""Which part of a repeated event the client of the bridge still lacks."""

from __future__ import annotations

from typing import Any

from api.cli.bridge.followed_thread import FollowedThread
from api.cli.bridge.messages import Message, Thread, Turn


def started(turn_id: str) -> Message:
    return {"method": "turn/started", "params": {"turn": {"id": turn_id}}}


def delta(text: str, event_id: str | None = None) -> Message:
    message: Message = {"method": "item/agentMessage/delta", "params": {"itemId": "i", "delta": text}}
    if event_id is not None:
        message["eventId"] = event_id
    return message


def turn(turn_id: str, status: str = "completed") -> Turn:
    item = {"id": f"item-{turn_id}", "type": "agentMessage", "text": "hello", "startedAtMs": 1, "completedAtMs": 2}
    return {"id": turn_id, "status": status, "items": [item]}


def resumed_by_bridge(**known: Any) -> FollowedThread:
    return FollowedThread(resumed_by_bridge=True, **known)


def test_the_cursor_moves_forward_only_and_compares_numbers() -> None:
    followed = FollowedThread()

    for event_id in ("9-0", "10-0", "10-2", "2-0", None):
        followed.advance(event_id)

    assert followed.last_event_id == "10-2"


def test_a_durable_event_is_new_once() -> None:
    followed = FollowedThread()

    assert followed.new_part(started("t")) is not None
    assert followed.new_part(started("t")) is None


def test_a_repeated_delta_is_cut_to_the_missing_text() -> None:
    followed = resumed_by_bridge(last_event_id="5-0")
    followed.new_part(delta("one ", "6-0"))

    part = followed.new_part(delta("one two"))

    assert part is not None
    assert part["params"]["delta"] == "two"
    assert followed.new_part(delta("one two")) is None


def test_a_delta_with_a_new_id_is_complete() -> None:
    followed = resumed_by_bridge()
    followed.new_part(delta("one ", "6-0"))

    part = followed.new_part(delta("one ", "7-0"))

    assert part == delta("one ", "7-0")


def test_a_delta_is_never_cut_after_a_resume_of_the_client() -> None:
    followed = FollowedThread()
    followed.new_part(delta("one "))

    assert followed.new_part(delta("one ")) == delta("one ")


def test_an_unchanged_token_usage_is_not_repeated() -> None:
    followed = resumed_by_bridge()
    usage: Message = {"method": "thread/tokenUsage/updated", "params": {"tokenUsage": {"total": 1}}}

    assert followed.new_part(usage) is usage
    assert followed.new_part(usage) is None


def test_missed_events_begin_with_the_known_turn() -> None:
    followed = resumed_by_bridge()
    followed.new_part(started("b"))
    thread: Thread = {"id": "T", "turns": [turn("a"), turn("b"), turn("c", "inProgress")]}

    events = [(event["method"], event["params"].get("turnId")) for event in followed.missed_events(thread)]

    assert events == [
        ("item/started", "b"),
        ("item/agentMessage/delta", "b"),
        ("item/completed", "b"),
        ("thread/status/changed", None),
        ("turn/completed", None),
        ("turn/started", None),
        ("item/started", "c"),
        ("item/agentMessage/delta", "c"),
        ("item/completed", "c"),
    ]


def test_without_a_known_turn_only_the_running_one_is_missed() -> None:
    thread: Thread = {"id": "T", "turns": [turn("a"), turn("b", "inProgress")]}

    events = list(FollowedThread().missed_events(thread))

    assert {event["params"].get("turnId", "b") for event in events} == {"b"}
    assert events[0]["params"]["turn"]["id"] == "b"
