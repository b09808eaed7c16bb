"""Approvals: found by their owner, and the rules that answers leave behind."""

from __future__ import annotations

import pytest

from shared.errors import InvalidParams
from shared.store import Store
from shared.store.approvals import MAX_ANSWER_BYTES
from tests.shared.store.records import park, running


def test_requests_are_found_by_their_owner(store: Store) -> None:
    mine, other = running(store), running(store, "bob")
    asked, others = park(store, mine), park(store, other)

    assert store.approvals.pending(mine.thread_id, "ann") == [asked]
    assert store.approvals.pending(mine.thread_id, "bob") == []
    assert store.approvals.pending(other.thread_id, "bob") == [others]
    assert store.approvals.of_turn(mine.turn_id) == [asked]
    assert store.approvals.find(asked.id, "ann") == asked
    assert store.approvals.find(asked.id, "bob") is None
    assert store.approvals.find(others.id + 1, "ann") is None
    assert store.approvals.find_for_item(asked.item_id) == asked
    assert store.approvals.find_for_item("unknown") is None


def test_an_answered_request_is_not_pending_and_may_allow_its_keys_for_the_session(store: Store) -> None:
    once, session, other = (running(store) for _ in range(3))
    for claimed, decision in ((once, "accept"), (session, "acceptForSession"), (other, "acceptForSession")):
        asked = park(store, claimed)
        assert store.approvals.session_keys(claimed.thread_id) == set()
        if claimed is not other:
            store.turns.answer(asked.id, "ann", {"decision": decision})
            assert store.approvals.pending(claimed.thread_id, "ann") == []

    assert store.approvals.session_keys(once.thread_id) == set()
    assert store.approvals.session_keys(session.thread_id) == {"k"}
    assert store.approvals.session_keys(other.thread_id) == set()


def test_an_answer_that_decides_is_small_and_one_that_is_too_large_leaves_the_request_open(store: Store) -> None:
    claimed = running(store)
    asked = park(store, claimed)

    with pytest.raises(InvalidParams, match="65536 bytes"):
        store.turns.answer(asked.id, "ann", {"decision": "accept", "note": "x" * MAX_ANSWER_BYTES})

    assert store.approvals.pending(claimed.thread_id, "ann") == [asked]
    assert store.turns.answer(asked.id, "ann", {"decision": "accept"}) is not None


def test_an_answer_that_is_no_object_decides_nothing(store: Store) -> None:
    claimed = running(store)
    asked = park(store, claimed)
    assert asked.decision is None

    store.turns.answer(asked.id, "ann", ["accept"])  # type: ignore[arg-type]

    answered = store.approvals.find(asked.id, "ann")
    assert answered is not None
    assert (answered.state, answered.decision) == ("answered", None)


def test_a_rule_is_added_once_for_its_owner(store: Store) -> None:
    for _ in range(2):
        store.approvals.add_rule("ann", ["git", "status"])
    store.approvals.add_rule("ann", ["ls"])
    store.approvals.add_rule("bob", ["git", "status"])

    assert sorted(store.approvals.rules("ann")) == [["git", "status"], ["ls"]]
    assert store.approvals.rules("bob") == [["git", "status"]]
    assert store.approvals.rules("eve") == []
