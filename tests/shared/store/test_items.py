"""Items: pages of what clients see, in either direction, for the owner only."""

from __future__ import annotations

from typing import Any

import pytest

from shared.store import Store
from shared.store.turns import Claim
from shared.store.writes import Write
from tests.shared.store.records import row, running, write


@pytest.fixture
def claimed(store: Store) -> Claim:
    """A turn with completed items at 1, 2, 4 and 6, one for the model only at 3 and an open one at 5."""
    claimed = running(store)
    done = {"started_at_ms": 1, "completed_at_ms": 2}
    rows = [row(claimed, position, id=f"i{position}", **done) for position in (1, 2, 4, 6)]
    rows.append(row(claimed, 3, id="i3", item=None, **done))
    rows.append(row(claimed, 5, id="i5", started_at_ms=1))
    write(store, Write(claimed, append=rows))
    return claimed


def page(store: Store, claimed: Claim, **asked: Any) -> list[int]:
    order = {"turn_id": None, "after": None, "inclusive": False, "descending": False, "limit": 100, "owner": "ann"}
    items, _ = store.items.page(claimed.thread_id, **{**order, "limit_bytes": 10_000, **asked})
    return [item.position for item in items]


def test_a_page_holds_what_clients_see_beyond_a_position(store: Store, claimed: Claim) -> None:
    assert page(store, claimed) == [1, 2, 4, 6]
    assert page(store, claimed, limit=2) == [1, 2]
    assert page(store, claimed, descending=True) == [6, 4, 2, 1]
    assert page(store, claimed, after=2) == [4, 6]
    assert page(store, claimed, after=2, inclusive=True) == [2, 4, 6]
    assert page(store, claimed, after=4, descending=True) == [2, 1]
    assert page(store, claimed, after=4, descending=True, inclusive=True) == [4, 2, 1]
    assert page(store, claimed, turn_id=claimed.turn_id) == [1, 2, 4, 6]
    assert page(store, claimed, turn_id="another") == []
    assert page(store, claimed, owner="bob") == []


def test_a_page_ends_before_its_bytes_are_too_many_and_has_one_item_at_least(store: Store, claimed: Claim) -> None:
    size = len('{"text":"x"}')

    assert page(store, claimed, limit_bytes=3 * size - 1) == [1, 2]
    assert page(store, claimed, limit_bytes=3 * size, descending=True) == [6, 4, 2]
    assert page(store, claimed, limit_bytes=0, after=1) == [2]
    assert page(store, claimed, limit_bytes=0, after=6) == []


def test_a_summary_is_the_first_message_of_the_user_and_the_last_of_the_agent(store: Store) -> None:
    claimed = running(store)
    kinds = ["agentMessage", "userMessage", "userMessage", "agentMessage", "commandExecution", "agentMessage"]
    done = {"started_at_ms": 1, "completed_at_ms": 2, "model_items": [{"type": "message"}]}
    rows = [row(claimed, position, kind=kind, **done) for position, kind in enumerate(kinds[:5], 1)]
    write(store, Write(claimed, append=[*rows, row(claimed, 6, kind=kinds[5], started_at_ms=1)]))
    asked = (claimed.thread_id, "ann", [claimed.turn_id])

    [found] = store.items.completed(*asked, summary=True).values()

    assert [item.position for item in found] == [2, 4]
    assert [item.model_items for item in found] == [[], []]
    size = len('{"text":"x"}')
    assert store.items.sizes(*asked, summary=True) == {claimed.turn_id: 2 * size}
    assert store.items.sizes(*asked) == {claimed.turn_id: 5 * size}
    assert store.items.sizes(claimed.thread_id, "bob", [claimed.turn_id]) == {}


def test_the_position_of_an_item_is_found_for_its_owner(store: Store, claimed: Claim) -> None:
    of = claimed.thread_id, claimed.turn_id

    assert store.items.find_position(of[0], "ann", of[1], "i4") == 4
    assert store.items.find_position(of[0], "ann", of[1], "i5") is None
    assert store.items.find_position(of[0], "ann", "another", "i4") is None
    assert store.items.find_position(of[0], "bob", of[1], "i4") is None


def test_items_of_turns_are_the_owners(store: Store, claimed: Claim) -> None:
    other = running(store, "bob")
    write(store, Write(other, append=[row(other, 1, completed_at_ms=1)]))

    found = store.items.completed(claimed.thread_id, "ann", [claimed.turn_id, other.turn_id])

    assert {turn_id: [item.position for item in of_turn] for turn_id, of_turn in found.items()} == {
        claimed.turn_id: [1, 2, 4, 6]
    }
    assert store.items.completed(claimed.thread_id, "bob", [claimed.turn_id]) == {}
    assert store.items.completed(claimed.thread_id, "ann", []) == {}
    assert [item.position for item in store.items.of_turn(claimed.turn_id)] == [1, 2, 3, 4, 5, 6]


def test_the_last_position_is_that_of_the_thread(store: Store, claimed: Claim) -> None:
    assert store.items.last_position(claimed.thread_id) == 6
    assert store.items.last_position("another") == 0
