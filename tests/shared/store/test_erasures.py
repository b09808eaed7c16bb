"""Erasures: due until they are done, claimed by one worker at a time, and receipts that stay for a while."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from sqlalchemy import String, func, or_, select, update

from shared.store import Store
from shared.store import erasures as erasures_of_store
from shared.store.audit import AuditEntry
from shared.store.erasures import AGAIN_MS, KEPT, Erasure
from shared.store.tables import erasures, metadata, threads
from tests.shared.store.records import begin, running, thread

OPERATOR = AuditEntry.of_operator("test")


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that sets the clock of erasures to a time in Unix ms."""
    return lambda at_ms: monkeypatch.setattr(erasures_of_store, "now_ms", lambda: at_ms)


def all_erasures(store: Store) -> list[Erasure]:
    return store.erasures.all_users_page(after_id=None, limit=100)


def test_an_erasure_is_claimed_when_it_is_due_and_again_after_a_while(
    store: Store, set_clock: Callable[[int], None]
) -> None:
    of = thread(store)
    assert not store.erasures.all_users_due()
    set_clock(1_000)
    store.threads.delete(of.id, "ann")

    set_clock(999)
    assert not store.erasures.all_users_due()
    assert store.erasures.all_users_claim() == []
    set_clock(1_000)
    assert store.erasures.all_users_due()
    assert [one.subject_id for one in store.erasures.all_users_claim()] == [of.id]

    assert not store.erasures.all_users_due()
    assert store.erasures.all_users_claim() == []
    set_clock(1_000 + AGAIN_MS)
    assert store.erasures.all_users_due()
    (again,) = store.erasures.all_users_claim()
    store.erasures.all_users_finish(again)
    set_clock(1_000 + 3 * AGAIN_MS)
    assert not store.erasures.all_users_due()
    assert store.erasures.all_users_claim() == []


def test_an_erasure_waits_for_the_lease_of_a_running_turn_only(store: Store) -> None:
    busy, waiting = running(store), thread(store)
    begin(store, waiting)

    store.threads.delete(busy.thread_id, "ann")
    store.threads.delete(waiting.id, "ann")

    assert [one.subject_id for one in store.erasures.all_users_claim()] == [waiting.id]


def test_a_thread_without_a_message_leaves_no_receipt(store: Store, set_clock: Callable[[int], None]) -> None:
    unused, deleted = thread(store, used_at_ms=0), thread(store)
    store.threads.delete(deleted.id, "ann")
    store.threads.all_users_sweep_unused()

    for erasure in store.erasures.all_users_claim():
        assert erasure.subject_id in (unused.id, deleted.id)
        store.erasures.all_users_finish(erasure)

    (receipt,) = all_erasures(store)
    assert (receipt.subject_id, receipt.cause, receipt.done_at_ms is None) == (deleted.id, "thread/delete", False)
    assert store.erasures.all_users_find(receipt.id) == receipt
    assert store.erasures.all_users_find("unknown") is None


def test_receipts_are_forgotten_when_they_are_old(store: Store, set_clock: Callable[[int], None]) -> None:
    for done_at_ms in (1_000, 2_000):
        of = thread(store)
        set_clock(0)
        store.threads.delete(of.id, "ann")
        (erasure,) = store.erasures.all_users_claim()
        set_clock(done_at_ms)
        store.erasures.all_users_finish(erasure)
    left = thread(store)
    store.threads.delete(left.id, "ann")

    assert store.erasures.all_users_forget(2_000) == 1

    assert [one.done_at_ms for one in all_erasures(store)] == [None, 2_000]


def test_pages_of_erasures_are_newest_first_and_the_owners(store: Store) -> None:
    for owner in ("ann", "bob", "ann"):
        store.threads.delete(thread(store, owner).id, owner)
    third, second, first = (one.id for one in all_erasures(store))
    assert first < second < third

    def page(after_id: str | None) -> list[str]:
        return [one.id for one in store.erasures.page("ann", after_id=after_id, limit=1)]

    assert (page(None), page(third), page(first)) == ([third], [first], [])
    assert [one.id for one in store.erasures.all_users_page(after_id=third, limit=9)] == [second, first]


def test_the_first_count_of_a_storage_stands(store: Store) -> None:
    store.threads.delete(thread(store).id, "ann")
    (erasure,) = all_erasures(store)

    store.erasures.all_users_record_counts(erasure, {"events": 3, "threads": 9})
    store.erasures.all_users_record_counts(erasure, {"events": 0})

    assert all_erasures(store)[0].receipt == {"threads": 1, "events": 3}


def rows_of(store: Store, user_id: str) -> dict[str, int]:
    """Return table → how many rows have the user's id in any column, for tables that keep no ids."""
    found = {}
    with store.database.read() as connection:
        for table in metadata.sorted_tables:
            texts = [column for column in table.c if isinstance(column.type, String)]
            if table.name not in KEPT and texts:
                of_user = or_(*(column == user_id for column in texts))
                found[str(table.name)] = connection.scalar(select(func.count()).select_from(table).where(of_user)) or 0
    return found


def test_a_users_rows_go_when_all_their_threads_are_erased(store: Store) -> None:
    store.users.add("bob")
    user = store.users.add("ann")
    for key in ("laptop", "phone"):
        store.users.create_key("ann", key)
    bob_key = store.users.create_key("bob", "laptop")
    store.sessions.create(user.id, None, None)
    mine, others = [thread(store, user.id) for _ in range(2)], thread(store, "bob")
    store.threads.delete(thread(store, user.id).id, user.id)  # a receipt of the user's that stays
    archive_id = store.archives.create(user.id)
    store.archives.append(archive_id, user.id, 0, b"x")
    store.limits.change(user.id, {"weight": 2})
    store.limits.change("bob", {"weight": 3})

    erasure = store.erasures.erase_user("ann", audit_entry=OPERATOR)

    assert erasure.receipt == {"users": 1, "api_keys": 2}
    assert store.users.find_by_key(bob_key) is not None
    assert sorted(store.erasures.all_users_threads(user.id)) == sorted(one.id for one in mine)
    for one in mine:
        store.erasures.all_users_erase_thread(one.id, "users delete")
    store.erasures.all_users_erase_thread("unknown", "users delete")
    assert store.erasures.all_users_threads(user.id) == []
    assert not store.erasures.all_users_erase_rows(erasure)
    assert store.limits.own(user.id) == {"weight": 2}
    for one in store.erasures.all_users_claim():
        if one.kind == "thread":
            store.erasures.all_users_finish(one)

    assert store.erasures.all_users_erase_rows(erasure)

    receipt = store.erasures.all_users_find(erasure.id)
    assert receipt is not None
    assert receipt.receipt == {"users": 1, "api_keys": 2, "threads": 2, "archives": 1, "user_limits": 1, "sessions": 1}
    assert [one.cause for one in all_erasures(store)] == ["users delete", "thread/delete"]
    assert (store.limits.own(user.id), store.limits.own("bob")) == ({}, {"weight": 3})
    assert store.threads.find(others.id, "bob") is not None
    assert [table for table, rows in rows_of(store, user.id).items() if rows] == []


def test_claims_take_the_oldest_erasures_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures_of_store, "CLAIMED_AT_ONCE", 1)
    made = [thread(store) for _ in range(2)]
    with store.database.write() as connection:
        connection.execute(update(threads).values(used_at_ms=0))
    for one in made:
        store.threads.delete(one.id, "ann")
    with store.database.write() as connection:
        for due_at_ms, one in zip(itertools.count(2, -1), made, strict=False):
            connection.execute(update(erasures).where(erasures.c.subject_id == one.id).values(due_at_ms=due_at_ms))

    assert [one.subject_id for one in store.erasures.all_users_claim()] == [made[1].id]


def test_owners_take_turns_however_many_threads_one_of_them_has_deleted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures_of_store, "CLAIMED_AT_ONCE", 3)
    made = [thread(store, owner) for owner in ("ann", "ann", "ann", "bob")]
    for one in made:
        store.threads.delete(one.id, one.owner)

    assert [one.subject_id for one in store.erasures.all_users_claim()] == [made[0].id, made[3].id, made[1].id]
    assert [one.subject_id for one in store.erasures.all_users_claim()] == [made[2].id]
    assert store.erasures.all_users_claim() == []
