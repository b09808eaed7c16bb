"""Feedback reports: claimed by one worker at a time, finished once, and delivered once per content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.errors import Conflict, NotFound, Overloaded
from shared.store import Store
from shared.store.feedback import DAY_MS, MAX_ATTEMPTS, Report
from shared.store.tables import feedback, feedback_contents, outbox

URL = "https://hooks.example/in"
LEASE_MS = 60_000


@pytest.fixture
def listeners() -> Mapping[str, Sequence[str]]:
    return {"feedback.processed": (URL,)}


def report(store: Store, owner: str = "ann", **given: Any) -> Report:
    content = {"thread_id": "t", "classification": "bug", "reason": "slow", "tags": {"a": "b"}, "include_logs": True}
    return store.feedback.create(owner, **{**content, "per_day": 0, **given})


def claim(store: Store) -> Report | None:
    return store.feedback.claim(lease_ms=LEASE_MS)


def expire_leases(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(update(feedback).where(feedback.c.due_at_ms.isnot(None)).values(due_at_ms=0))


def messages(store: Store) -> list[dict[str, Any]]:
    with store.database.read() as connection:
        return [row.data for row in connection.execute(select(outbox).order_by(outbox.c.id))]


def test_a_report_is_received_then_processing_then_delivered(store: Store) -> None:
    made = report(store)
    assert (made.status, store.feedback.all_users_count_due()) == ("received", 1)

    claimed = claim(store)

    assert claimed is not None
    assert (claimed.status, claimed.attempts, claimed.tags) == ("processing", 1, {"a": "b"})
    assert claim(store) is None
    assert store.feedback.finish(claimed, '{"x":1}', {"reason": "slow"})
    assert store.feedback.get(made.id, "ann").status == "delivered"
    assert store.feedback.all_users_content(made.id) == {"x": 1}
    ids = {"feedbackId": made.id, "threadId": "t", "userId": "ann", "status": "delivered"}
    assert messages(store) == [{**ids, "reason": "slow"}]


def test_a_worker_whose_claim_was_replaced_changes_nothing(store: Store) -> None:
    report(store)
    slow = claim(store)
    expire_leases(store)
    quick = claim(store)
    assert slow is not None
    assert quick is not None

    assert not store.feedback.finish(slow, "{}", {})
    assert store.feedback.finish(quick, "{}", {})
    assert not store.feedback.finish(slow, "{}", {})
    store.feedback.retry_or_fail(slow, "late", None)

    assert store.feedback.get(quick.id, "ann").status == "delivered"
    assert len(messages(store)) == 1
    with store.database.read() as connection:
        assert len(list(connection.execute(select(feedback_contents)))) == 1


def test_reports_with_the_same_content_are_delivered_once_and_share_their_status(store: Store) -> None:
    first, second = report(store), report(store)
    others = [report(store, **{key: "x"}) for key in ("owner", "thread_id", "classification", "reason")]

    claimed = [claim(store) for _ in range(5)]

    assert [one.id for one in claimed if one] == [first.id, *(one.id for one in others)]
    assert claim(store) is None
    same = store.feedback.get(second.id, "ann")
    assert (same.duplicate_of, same.status) == (first.id, "processing")
    assert claimed[0] is not None
    store.feedback.retry_or_fail(claimed[0], "disk full", None)
    same = store.feedback.get(second.id, "ann")
    assert (same.status, same.error) == ("failed", "disk full")


def test_after_a_failed_report_the_next_one_with_the_same_content_is_processed(store: Store) -> None:
    failed = report(store)
    first = claim(store)
    assert first is not None
    store.feedback.retry_or_fail(first, "disk full", None)

    again = report(store)

    claimed = claim(store)
    assert claimed is not None
    assert claimed.id == again.id
    store.feedback.all_users_retry(failed.id)
    assert claim(store) is None
    assert store.feedback.get(failed.id, "ann").duplicate_of == again.id


def test_a_retried_report_is_due_later_and_a_failed_one_when_an_operator_retries_it(store: Store) -> None:
    made = report(store)
    claimed = claim(store)
    assert claimed is not None

    store.feedback.retry_or_fail(claimed, "disk full", 3_600_000)

    assert store.feedback.get(made.id, "ann").error == "disk full"
    assert claim(store) is None
    with pytest.raises(Conflict, match="is processing; only failed ones"):
        store.feedback.all_users_retry(made.id)
    expire_leases(store)
    claimed = claim(store)
    assert claimed is not None
    store.feedback.retry_or_fail(claimed, "disk full", None)
    assert store.feedback.get(made.id, "ann").status == "failed"
    store.feedback.all_users_retry(made.id)
    assert (store.feedback.get(made.id, "ann").status, claim(store) is not None) == ("received", True)


def test_a_report_whose_workers_all_die_fails(store: Store) -> None:
    made = report(store)

    for _ in range(MAX_ATTEMPTS):
        assert claim(store) is not None
        expire_leases(store)

    assert claim(store) is None
    assert store.feedback.get(made.id, "ann").status == "failed"
    assert [one["status"] for one in messages(store)] == ["failed"]


def test_a_report_is_visible_to_its_author_and_to_admins(store: Store) -> None:
    mine, theirs = report(store), report(store, "bob")

    with pytest.raises(NotFound) as of_another:
        store.feedback.get(theirs.id, "ann")
    with pytest.raises(NotFound) as of_nobody:
        store.feedback.get("x", "ann")

    assert str(of_another.value).replace(theirs.id, "x") == str(of_nobody.value)
    assert [one.id for one in store.feedback.list("ann", None, 10)] == [mine.id]
    assert store.feedback.list("ann", mine.id, 10) == []
    assert [one.id for one in store.feedback.all_users_list(["received"], 10)] == [theirs.id, mine.id]


def test_reports_of_one_user_are_limited_per_day(store: Store) -> None:
    report(store, per_day=1)

    with pytest.raises(Overloaded, match="more than 1 reports in a day"):
        report(store, per_day=1)

    report(store, "bob", per_day=1)


def test_old_reports_that_are_finished_are_found_and_deleted(store: Store) -> None:
    finished, waiting, other = report(store, reason="a"), report(store, reason="b"), report(store, thread_id="t2")
    claimed = claim(store)
    assert claimed is not None
    store.feedback.finish(claimed, "{}", {})
    changed_at_ms = store.feedback.get(finished.id, "ann").changed_at_ms

    assert store.feedback.all_users_old(changed_at_ms) == []
    assert store.feedback.all_users_old(changed_at_ms + 60_000) == [finished.id]
    assert set(store.feedback.all_users_of("ann", None)) == {finished.id, waiting.id, other.id}
    assert store.feedback.all_users_of("ann", "t2") == [other.id]
    assert store.feedback.all_users_of("bob", None) == []
    assert not store.feedback.all_users_is_gone(finished.id)

    store.feedback.all_users_delete([finished.id])

    assert store.feedback.all_users_is_gone(finished.id)
    assert store.feedback.all_users_content(finished.id) is None
    assert set(store.feedback.all_users_of("ann", None)) == {waiting.id, other.id}


def test_duplicates_name_the_first_report_in_their_message(store: Store) -> None:
    first, second = report(store), report(store)
    claimed = claim(store)
    assert claimed is not None
    store.feedback.finish(claimed, None, {})

    assert claim(store) is None

    assert [(one["feedbackId"], one.get("duplicateOf")) for one in messages(store)] == [
        (first.id, None),
        (second.id, first.id),
    ]
    assert store.feedback.all_users_content(first.id) is None
    assert store.feedback.all_users_count_due() == 0


def test_pages_of_reports_are_newest_first(store: Store) -> None:
    first, second, third = (report(store, reason=str(number)).id for number in range(3))
    report(store, "bob")

    assert [one.id for one in store.feedback.list("ann", None, 2)] == [third, second]
    assert [one.id for one in store.feedback.list("ann", second, 2)] == [first]
    assert [one.id for one in store.feedback.all_users_list(["failed"], 9)] == []
    assert store.feedback.all_users_get(first).id == first
    with pytest.raises(NotFound):
        store.feedback.all_users_get("unknown")
    with pytest.raises(NotFound):
        store.feedback.all_users_retry("unknown")


def test_limit_of_a_day_counts_the_reports_of_the_last_24_hours(store: Store) -> None:
    report(store)
    with store.database.write() as connection:
        connection.execute(update(feedback).values(created_at_ms=feedback.c.created_at_ms - DAY_MS - 1))

    report(store, per_day=1)

    with pytest.raises(Overloaded):
        report(store, per_day=1)
    report(store, per_day=2)
