"""The audit log: pages by any condition, oldest first, and rows that go when they are old."""

from __future__ import annotations

import itertools

import pytest

from shared.store import Store, audit
from shared.store.audit import AuditEntry


@pytest.fixture
def rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Three rows of the times 100, 200 and 300. Returns their ids."""
    times = itertools.count(100, 100)
    monkeypatch.setattr(audit, "now_ms", lambda: next(times))
    made = (("ann", "thread/start", "t1"), ("bob", "thread/start", "t2"), ("ann", "thread/delete", "t1"))
    for owner, action, thread_id in made:
        store.audit.append(AuditEntry(owner, action, "http"), thread_id=thread_id)
    return [row.id for row in store.audit.all_users_page()]


def test_a_page_holds_what_meets_all_conditions_oldest_first(store: Store, rows: list[int]) -> None:
    first, second, third = rows
    page = store.audit.all_users_page

    assert [row.at_ms for row in page()] == [100, 200, 300]
    assert [row.id for row in page(owner="ann")] == [first, third]
    assert [row.id for row in page(thread_id="t2")] == [second]
    assert [row.id for row in page(action="thread/start")] == [first, second]
    assert [row.id for row in page(owner="ann", action="thread/start")] == [first]
    assert [row.id for row in page(after_id=first)] == [second, third]
    assert [row.id for row in page(since_ms=200)] == [second, third]
    assert [row.id for row in page(since_ms=201)] == [third]
    assert [row.id for row in page(limit=2)] == [first, second]


def test_rows_older_than_a_time_are_deleted(store: Store, rows: list[int]) -> None:
    assert store.audit.all_users_forget(200) == 1

    assert [row.id for row in store.audit.all_users_page()] == rows[1:]
