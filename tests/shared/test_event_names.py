"""Event keys and channel names are parsed as they were made."""

from __future__ import annotations

import pytest

from shared.event_names import (
    EventKey,
    call_channel,
    is_user_channel,
    item_key,
    parse_key,
    request_key,
    thread_channel,
    thread_of_channel,
    turn_key,
    user_channel,
    worker_channel,
)


@pytest.mark.parametrize(
    ("key", "parsed"),
    [
        (item_key("I", "started"), EventKey("item", "I", "started")),
        (item_key("I", "completed"), EventKey("item", "I", "completed")),
        (turn_key("T", "inactive"), EventKey("turn", "T", "inactive")),
        (request_key(7), EventKey("request", "7", "")),
        (request_key(7, "resolved"), EventKey("request", "7", "resolved")),
    ],
)
def test_a_key_is_parsed_as_it_was_made(key: str, parsed: EventKey) -> None:
    assert parse_key(key) == parsed


@pytest.mark.parametrize("key", ["", "item", "thread:T:started", "item:I:started:again"])
def test_anything_else_is_not_a_key(key: str) -> None:
    with pytest.raises(ValueError, match="not the key of a durable event"):
        parse_key(key)


def test_the_thread_of_a_channel_is_found() -> None:
    assert thread_of_channel(thread_channel("T")) == "T"
    assert is_user_channel(user_channel("ann"))
    for other in (user_channel("ann"), call_channel("C"), worker_channel("W")):
        assert thread_of_channel(other) is None
    for other in (thread_channel("T"), call_channel("C"), worker_channel("W")):
        assert not is_user_channel(other)
