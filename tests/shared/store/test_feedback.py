"""A report is stored, taken by one worker at a time, and over once; those that say the same are delivered once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.errors import Conflict, NotFound, Overloaded
from shared.store import Store
from shared.store.feedback import MAX_ATTEMPTS, Report
from shared.store.tables import feedback, feedback_contents, outbox

URL = "https://hooks.example/in"
LEASE_MS = 60_000


@pytest.fixture
def listeners() -> Mapping[str, Sequence[str]]:
    return {"feedback.processed": (URL,)}


def report(store: Store, owner: str = "ann", **given: Any) -> Report:
    said = {"thread_id": "t", "classification": "bug", "reason": "slow", "tags": {"a": "b"}, "include_logs": True}
    return store.feedback.create(owner, **{**said, "per_day": 0, **given})


def claim(store: Store) -> Report | None:
    return store.feedback.claim(lease_ms=LEASE_MS)


def lease_runs_out(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(update(feedback).where(feedback.c.due_at_ms.isnot(None)).values(due_at_ms=0))


def told(store: Store) -> list[dict[str, Any]]:
    with store.database.read() as connection:
        return [row.data for row in connection.execute(select(outbox).order_by(outbox.c.id))]


def test_a_report_goes_from_received_over_processing_to_delivered(store: Store) -> None:
    made = report(store)
    assert (made.status, store.feedback.all_users_count_due()) == ("received", 1)

    taken = claim(store)

    assert taken is not None
    assert (taken.status, taken.attempts, taken.tags) == ("processing", 1, {"a": "b"})
    assert claim(store) is None
    assert store.feedback.finish(taken, '{"x":1}', {"reason": "slow"})
    assert store.feedback.get(made.id, "ann").status == "delivered"
    assert store.feedback.all_users_content(made.id) == {"x": 1}
    ids = {"feedbackId": made.id, "threadId": "t", "userId": "ann", "status": "delivered"}
    assert told(store) == [{**ids, "reason": "slow"}]


def test_a_worker_that_was_overtaken_changes_nothing(store: Store) -> None:
    report(store)
    slow = claim(store)
    lease_runs_out(store)
    quick = claim(store)
    assert slow is not None
    assert quick is not None

    assert not store.feedback.finish(slow, "{}", {})
    assert store.feedback.finish(quick, "{}", {})
    assert not store.feedback.finish(slow, "{}", {})
    store.feedback.put_off(slow, "late", None)

    assert store.feedback.get(quick.id, "ann").status == "delivered"
    assert len(told(store)) == 1
    with store.database.read() as connection:
        assert len(list(connection.execute(select(feedback_contents)))) == 1


def test_those_that_say_the_same_are_delivered_once_and_share_their_fate(store: Store) -> None:
    first, second = report(store), report(store)
    others = [report(store, **{key: "x"}) for key in ("owner", "thread_id", "classification", "reason")]

    taken = [claim(store) for _ in range(5)]

    assert [one.id for one in taken if one] == [first.id, *(one.id for one in others)]
    assert claim(store) is None
    same = store.feedback.get(second.id, "ann")
    assert (same.duplicate_of, same.status) == (first.id, "processing")
    assert taken[0] is not None
    store.feedback.put_off(taken[0], "disk full", None)
    same = store.feedback.get(second.id, "ann")
    assert (same.status, same.error) == ("failed", "disk full")


def test_behind_one_that_failed_the_next_that_says_the_same_is_tried(store: Store) -> None:
    failed = report(store)
    first = claim(store)
    assert first is not None
    store.feedback.put_off(first, "disk full", None)

    again = report(store)

    taken = claim(store)
    assert taken is not None
    assert taken.id == again.id
    store.feedback.all_users_retry(failed.id)
    assert claim(store) is None
    assert store.feedback.get(failed.id, "ann").duplicate_of == again.id


def test_what_is_put_off_is_due_later_and_what_failed_when_an_operator_says_so(store: Store) -> None:
    made = report(store)
    taken = claim(store)
    assert taken is not None

    store.feedback.put_off(taken, "disk full", 3_600_000)

    assert store.feedback.get(made.id, "ann").error == "disk full"
    assert claim(store) is None
    with pytest.raises(Conflict, match="is processing; only failed ones"):
        store.feedback.all_users_retry(made.id)
    lease_runs_out(store)
    taken = claim(store)
    assert taken is not None
    store.feedback.put_off(taken, "disk full", None)
    assert store.feedback.get(made.id, "ann").status == "failed"
    store.feedback.all_users_retry(made.id)
    assert (store.feedback.get(made.id, "ann").status, claim(store) is not None) == ("received", True)


def test_a_report_that_takes_every_worker_with_it_fails(store: Store) -> None:
    made = report(store)

    for _ in range(MAX_ATTEMPTS):
        assert claim(store) is not None
        lease_runs_out(store)

    assert claim(store) is None
    assert store.feedback.get(made.id, "ann").status == "failed"
    assert [one["status"] for one in told(store)] == ["failed"]


def test_a_report_is_its_authors_alone_and_admins_see_all(store: Store) -> None:
    mine, theirs = report(store), report(store, "bob")

    with pytest.raises(NotFound) as of_another:
        store.feedback.get(theirs.id, "ann")
    with pytest.raises(NotFound) as of_nobody:
        store.feedback.get("x", "ann")

    assert str(of_another.value).replace(theirs.id, "x") == str(of_nobody.value)
    assert [one.id for one in store.feedback.list("ann", None, 10)] == [mine.id]
    assert store.feedback.list("ann", mine.id, 10) == []
    assert [one.id for one in store.feedback.all_users_list(["received"], 10)] == [theirs.id, mine.id]


def test_a_user_may_report_so_often_in_a_day(store: Store) -> None:
    report(store, per_day=1)

    with pytest.raises(Overloaded, match="more than 1 reports in a day"):
        report(store, per_day=1)

    report(store, "bob", per_day=1)
