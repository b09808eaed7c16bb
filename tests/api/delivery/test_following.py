"""Which events a client still needs of a thread that it follows."""

from __future__ import annotations

import pytest

from api.delivery.following import Following, FollowStart
from api.delivery.frames import Frame
from shared.events.log import Event, OpenItem


def event(event_id: str, method: str = "m", key: str = "", item_id: str = "") -> Frame:
    return Frame(b"{}", method, event_id, key, item_id)


@pytest.mark.parametrize(
    ("event_id", "accepted"),
    [("5-0", False), ("4-9", False), ("5-1", True), ("10-0", True)],
)
def test_only_events_after_the_position_are_accepted(event_id: str, accepted: bool) -> None:
    assert Following("5-0").accept(event(event_id)) is accepted


def test_a_durable_event_is_accepted_once_whatever_its_id() -> None:
    following = Following()

    assert following.accept(event("1-0", key="item:i:started"))
    assert not following.accept(event("2-0", key="item:i:started"))
    assert following.position == "2-0"


def test_events_of_items_in_the_reply_are_dropped() -> None:
    following = Following()
    following.mark_delivered([], ["i"], None)

    assert not following.accept(event("1-0", item_id="i"))
    assert following.accept(event("2-0", item_id="j"))


def test_the_open_turn_is_known_from_its_start_to_its_end() -> None:
    following = Following()

    following.accept(event("1-0", "turn/started", "turn:t:started"))
    assert following.open_turn == "t"

    following.accept(event("2-0", "turn/completed", "turn:t:completed"))
    assert following.open_turn is None


def test_keys_of_earlier_turns_are_forgotten_when_a_turn_starts() -> None:
    following = Following()
    for number, key in enumerate(("turn:first:started", "item:i:started", "turn:second:active", "turn:second:started")):
        method = "turn/started" if key.endswith("started") and key.startswith("turn") else "m"
        following.accept(event(f"{number + 1}-0", method, key))

    assert following.delivered_keys == {"turn:second:active", "turn:second:started"}


def test_the_last_replayed_frame_carries_the_position() -> None:
    started = Event("item/started", {"threadId": "T", "turnId": "t", "item": {"id": "i"}}).head()
    start = FollowStart("7-0", [OpenItem("i", started, {"item/agentMessage/delta": "text"})], fresh=True)

    assert [(frame.method, frame.event_id) for frame in start.frames()] == [
        ("item/started", ""),
        ("item/agentMessage/delta", "7-0"),
    ]
    assert start.frames(["i"]) == []
