"""Outbox messages: added with what they report, claimed by one worker at a time, retried until delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import select, update

from shared.clock import now_ms
from shared.config.webhooks import EVENTS, NOTIFY
from shared.store import Store
from shared.store import outbox as outbox_module
from shared.store.outbox import DAY_MS, Outgoing
from shared.store.tables import outbox, turns
from tests.shared.store import records

URL, OTHER = "https://hooks.example/in", "https://more.example/in"


@pytest.fixture
def listeners() -> Mapping[str, Sequence[str]]:
    return {**dict.fromkeys(EVENTS, (URL,)), "turn.failed": (URL, OTHER), NOTIFY: (NOTIFY,)}


def rows(store: Store) -> list[Any]:
    with store.database.read() as connection:
        return list(connection.execute(select(outbox).order_by(outbox.c.id)))


def events_for(store: Store, target: str = URL) -> list[str]:
    """Return the events of a target's messages, in order."""
    return [row.event for row in rows(store) if row.target == target]


def add(store: Store, event: str = "feedback.processed", count: int = 1) -> None:
    for _ in range(count):
        with store.database.write() as connection:
            store.outbox.add(connection, event, {"feedbackId": "f"})


def claim(store: Store, lease_ms: int = 60_000, at_once: int = 4) -> Outgoing | None:
    return store.outbox.claim(lease_ms=lease_ms, at_once=at_once)


def let_pass(store: Store, **columns: int) -> None:
    """Move the times of all rows into the past."""
    with store.database.write() as connection:
        connection.execute(update(outbox).values(**columns))


def test_what_is_not_delivered_is_counted_with_its_age(store: Store) -> None:
    assert store.outbox.undelivered() == {}
    add(store, count=3)
    let_pass(store, created_at_ms=now_ms() - 60_000)
    delivered, dead = claim(store), claim(store)
    assert delivered is not None
    assert dead is not None
    store.outbox.settle(delivered, None)
    store.outbox.settle(dead, "http 410")

    found = store.outbox.undelivered()

    assert {state: count for state, (count, _) in found.items()} == {"pending": 1, "dead": 1}
    assert all(age_ms >= 60_000 for _, age_ms in found.values())


def test_of_many_undelivered_messages_those_that_have_not_changed_for_longest_are_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "MAX_COUNTED", 2)
    add(store, count=3)
    let_pass(store, created_at_ms=now_ms() - 60_000, changed_at_ms=now_ms() - 60_000)
    with store.database.write() as connection:
        newest = update(outbox).where(outbox.c.id == rows(store)[-1].id)
        connection.execute(newest.values(created_at_ms=0, changed_at_ms=now_ms()))

    [(count, age_ms)] = store.outbox.undelivered().values()

    assert count == 2
    assert 60_000 <= age_ms < now_ms()


def test_a_message_is_added_when_a_turn_starts_and_when_it_ends(store: Store) -> None:
    claimed = records.running(store)

    records.end(store, claimed, "failed")

    assert events_for(store) == ["turn.started", "turn.failed"]
    assert events_for(store, OTHER) == ["turn.failed"]
    assert events_for(store, NOTIFY) == []
    ids = {"threadId": claimed.thread_id, "turnId": claimed.turn_id, "userId": "ann"}
    started, failed, _ = rows(store)
    assert started.data == {**ids, "status": "inProgress", "kind": "regular"}
    assert failed.data == {**ids, "status": "failed", "kind": "regular"}


def test_a_recovered_turn_adds_no_second_start_message(store: Store) -> None:
    claimed = records.running(store)
    records.expire_lease(store, claimed)
    store.recovery.all_users_requeue_lost(max_lost_attempts=3)

    records.claim(store)

    assert events_for(store) == ["turn.started"]


@pytest.mark.parametrize(
    ("kind", "status", "runs"),
    [
        (None, "completed", True),
        ("review", "completed", True),
        ("compact", "completed", False),
        ("shell", "completed", False),
        (None, "failed", False),
        (None, "interrupted", False),
    ],
)
def test_notify_messages_are_added_for_completed_turns_only(
    store: Store, kind: str | None, status: str, runs: bool
) -> None:
    of = records.thread(store)
    new = records.asked(options={"kind": kind} if kind else {})
    store.turns.create(of.id, of.owner, new, queued_limit=0)
    claimed = records.claim(store)

    records.end(store, claimed, status)

    assert events_for(store, NOTIFY) == [NOTIFY] * runs
    assert [row.data["cwd"] for row in rows(store) if row.target == NOTIFY] == ["/work"] * runs


def test_an_end_that_is_refused_is_not_events_for(store: Store) -> None:
    claimed = records.running(store)

    assert records.write(store, records.Write(claimed, end=records.End("completed", now_ms()))) == ["unread"]
    with store.database.write() as connection:
        connection.execute(update(turns).values(claim_no=99))
    assert records.end(store, claimed) == ["lost"]

    assert events_for(store) == ["turn.started"]


def test_approval_messages_hold_the_outcome_and_no_content(store: Store) -> None:
    answered, expired, dropped = (records.running(store) for _ in range(3))
    asked = [
        records.park(store, answered),
        records.park(store, expired, expires_in_ms=-1),
        records.park(store, dropped),
    ]

    store.turns.answer(asked[0].id, "ann", {"decision": "accept"})
    store.turns.answer(asked[0].id, "ann", {"decision": "accept"})
    store.recovery.all_users_expire_approvals({"decision": "decline"})
    store.turns.interrupt(dropped.thread_id, "ann", None)

    found = [(row.event, row.data["requestId"], row.data["state"]) for row in rows(store) if "requestId" in row.data]
    assert found == [
        *(("approval.requested", one.id, "pending") for one in asked),
        ("approval.resolved", asked[0].id, "answered"),
        ("approval.expired", asked[1].id, "answered"),
        ("approval.resolved", asked[2].id, "dropped"),
    ]
    assert events_for(store)[-1] == "turn.interrupted"
    assert all("params" not in row.data and "answer" not in row.data for row in rows(store))


def test_a_dynamic_tool_call_adds_no_approval_message(store: Store) -> None:
    claimed = records.running(store)

    store.claims.park(claimed, "item/tool/call", "item", {}, [], expires_in_ms=1000)

    assert events_for(store) == ["turn.started"]


def test_a_rolled_back_transaction_adds_no_message(store: Store) -> None:
    with suppress(RuntimeError), store.database.write() as connection:
        store.outbox.add(connection, "feedback.processed", {})
        raise RuntimeError

    assert rows(store) == []


def test_nothing_is_stored_for_an_event_without_targets(store: Store) -> None:
    without_targets = Store(store.database.engine.url.render_as_string(hide_password=False))

    records.end(without_targets, records.running(without_targets))

    assert rows(store) == []
    without_targets.close()


def test_concurrent_workers_claim_a_message_once(store: Store) -> None:
    add(store)

    claims = records.at_once(6, lambda _: claim(store))

    assert [one.event for one in claims if one] == ["feedback.processed"]


def test_a_message_whose_worker_died_is_due_again_under_the_same_id(store: Store) -> None:
    add(store)
    first = claim(store)
    assert first is not None
    assert claim(store) is None

    let_pass(store, due_at_ms=0, lease_until_ms=0)
    second = claim(store)

    assert second is not None
    assert (second.id, second.attempts) == (first.id, 2)
    store.outbox.settle(first, "too late", None)
    assert rows(store)[0].state == "pending"
    store.outbox.settle(second, None)
    assert (rows(store)[0].state, rows(store)[0].lease_until_ms) == ("delivered", None)


def test_a_begun_notify_message_is_never_begun_again(store: Store) -> None:
    records.end(store, records.running(store))
    with store.database.write() as connection:
        connection.execute(outbox.delete().where(outbox.c.target != NOTIFY))
    begun = claim(store)
    assert begun is not None
    assert begun.state == "begun"

    let_pass(store, due_at_ms=0, lease_until_ms=0)

    assert claim(store) is None
    assert store.outbox.count_due(10) == 0


def test_a_failed_message_waits_for_its_retry_and_is_dead_without_one(store: Store) -> None:
    add(store)
    first = claim(store)
    assert first is not None
    store.outbox.settle(first, "HTTP 500" + "x" * 1000, 60_000)
    assert claim(store) is None
    assert (rows(store)[0].state, len(rows(store)[0].error)) == ("pending", 300)

    let_pass(store, due_at_ms=0)
    second = claim(store)
    assert second is not None
    store.outbox.settle(second, "HTTP 500")

    assert [one.state for one in store.outbox.list_webhooks(["dead"], 10)] == ["dead"]
    assert claim(store) is None


def test_a_slow_target_does_not_delay_the_others(store: Store) -> None:
    add(store, "turn.started", count=5)
    add(store, "turn.failed")

    messages = [claim(store, at_once=2) for _ in range(4)]

    assert [one.target if one else None for one in messages] == [URL, OTHER, URL, None]
    assert store.outbox.count_due(10) == 4
    assert messages[0]
    store.outbox.settle(messages[0], None)
    assert claim(store, at_once=2) is not None


def test_a_user_with_many_messages_does_not_delay_those_about_others(store: Store) -> None:
    for user in ("ann", "ann", "ann", "ann", "bob", "eve"):
        with store.database.write() as connection:
            store.outbox.add(connection, "feedback.processed", {"feedbackId": "f", "userId": user})

    def users(*claimed: Outgoing | None) -> list[Any]:
        return [one.data["userId"] if one else None for one in claimed]

    first, *more = (claim(store) for _ in range(4))
    assert users(first, *more) == ["ann", "bob", "eve", "ann"]
    assert first
    store.outbox.settle(first, None)
    assert users(claim(store), claim(store)) == ["ann", None]


def test_a_replayed_message_is_due_at_once_under_the_same_id_unless_it_is_claimed(store: Store) -> None:
    add(store)
    first = claim(store)
    assert first is not None
    assert not store.outbox.replay(first.id)
    assert not store.outbox.replay("unknown")
    store.outbox.settle(first, "HTTP 500")

    assert store.outbox.replay(first.id)

    again = claim(store)
    assert again is not None
    assert (again.id, again.attempts, again.created_at_ms) == (first.id, 1, first.created_at_ms)


def test_sweep_marks_untried_messages_as_dead_and_deletes_old_ones(store: Store) -> None:
    add(store, count=3)
    old = now_ms() - 40 * DAY_MS
    ids = [row.id for row in rows(store)]
    with store.database.write() as connection:
        connection.execute(update(outbox).where(outbox.c.id == ids[0]).values(due_at_ms=old))
        connection.execute(update(outbox).where(outbox.c.id == ids[1]).values(state="delivered", changed_at_ms=old))

    assert store.outbox.sweep() == 1

    assert [(row.id, row.state) for row in rows(store)] == [(ids[0], "dead"), (ids[2], "pending")]
