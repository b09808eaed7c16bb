"""Turns that have ended, as operators list them: which of them, in which order, page by page."""

from __future__ import annotations

from shared.clock import now_ms
from shared.ids import first_id, new_id
from shared.store import Store
from shared.store.tables import turns
from shared.store.turns.ended_turns import KEPT_MS
from tests.shared.store.records import end, queued, running


def test_turns_that_have_ended_are_listed_newest_first_page_by_page(store: Store) -> None:
    ended = []
    for owner, status in (("ann", "completed"), ("bob", "failed"), ("ann", "failed")):
        claim = running(store, owner)
        end(store, claim, status)
        ended.append(claim.turn_id)
    queued(store)
    running(store, "bob")

    def ids(after_id: str | None = None, limit: int = 10, **which: str) -> list[str]:
        return [turn.id for turn in store.ended_turns.all_users_page(after_id=after_id, limit=limit, **which)]

    assert ids() == ended[::-1]
    assert ids(limit=2) == [ended[2], ended[1]]
    assert ids(after_id=ended[1]) == [ended[0]]
    assert ids(status="failed") == [ended[2], ended[1]]
    assert ids(owner="ann") == [ended[2], ended[0]]


def test_old_turns_and_copies_of_a_fork_are_not_listed(store: Store) -> None:
    claim = running(store)
    end(store, claim)
    fork = store.histories.fork(claim.thread_id, claim.owner, last_turn_id=None, before_turn_id=None)
    store.histories.create(fork)
    with store.database.write() as connection:
        old = connection.execute(turns.select().where(turns.c.id == claim.turn_id)).one()._mapping
        before = first_id(now_ms() - KEPT_MS - 1000)
        connection.execute(turns.insert().values({**old, "id": before, "thread_id": new_id()}))

    listed = store.ended_turns.all_users_page(after_id=None, limit=10)

    assert [turn.id for turn in listed] == [claim.turn_id]
