"""Recovery: turns of lost workers, and ends and approvals that were not published."""

from __future__ import annotations

from sqlalchemy import update

from shared.clock import now_ms
from shared.store import Store, terminals
from shared.store.tables import approvals, pending_inputs, turns
from shared.store.terminals import Terminal
from shared.store.writes import Published, Write
from tests.shared.store.records import (
    LEASE_MS,
    at_once,
    claim,
    end,
    expire_lease,
    open_call,
    park,
    phase,
    queued,
    row,
    running,
    write,
)

# -- recovery


def test_recovery_leaves_a_valid_lease_alone(store: Store) -> None:
    of = running(store)

    assert store.recovery.all_users_requeue_lost(max_lost_attempts=3) == ([], [])
    assert store.claims.renew([of], lease_ms=LEASE_MS) == {of.turn_id}


def test_the_leases_of_a_worker_that_has_ended_end_with_it_and_those_of_others_do_not(store: Store) -> None:
    names = ("host:7:aa%", "host:7:aa%b", "host:70:aa", "host:7:aab")
    made = []
    for name in names:
        queued(store)
        made += store.claims.claim([f"{name}:x"], lease_ms=LEASE_MS, turns_at_once=0)
    for name in names[:2]:
        with store.database.write() as connection:
            terminal = Terminal(f"item {name}", made[0].thread_id, "t", "ann", 1, "sleep", "/", name, now_ms())
            terminals.add(connection, [terminal], store.database.now_ms() + LEASE_MS)

    assert store.recovery.all_users_end_leases(names[0]) == 2

    assert [turn.id for turn in store.recovery.all_users_requeue_lost(max_lost_attempts=3)[0]] == [made[0].turn_id]
    assert store.claims.renew(made, lease_ms=LEASE_MS) == {claim.turn_id for claim in made[1:]}
    assert store.terminals.renew(names[1], lease_ms=LEASE_MS).keys() == {f"item {names[1]}"}


def test_a_turn_fails_after_too_many_lost_attempts_in_a_row(store: Store) -> None:
    of = running(store)
    for lost in range(3):
        write(store, Write(of, append=[open_call(of, lost + 1, begun_at_ms=now_ms())])) if lost == 0 else None
        expire_lease(store, of)
        assert len(store.recovery.all_users_requeue_lost(max_lost_attempts=2)[lost == 2]) == 1
        if lost < 2:
            of = claim(store)

    ended = store.turns.get(of.turn_id, "ann")
    assert (ended.status, ended.phase) == ("failed", "done")
    assert ended.error is not None
    assert "3 workers were lost" in ended.error["message"]
    call, message = store.items.of_turn(of.turn_id)
    assert "outcome is unknown" in call.model_items[1]["output"]
    assert message.kind == "userMessage"


def test_a_stored_item_resets_the_count_of_lost_attempts(store: Store) -> None:
    of = running(store)
    for number in range(6):
        expire_lease(store, of)
        store.recovery.all_users_requeue_lost(max_lost_attempts=1)
        of = claim(store)
        write(store, Write(of, append=[row(of, number + 1)]))

    assert phase(store, of) == ("running", "inProgress")


def test_a_stored_item_makes_up_for_no_lost_call(store: Store) -> None:
    of = running(store)
    for number in range(3):
        call = open_call(of, 2 * number + 1, begun_at_ms=now_ms())
        write(store, Write(of, append=[call]))
        expire_lease(store, of)
        assert len(store.recovery.all_users_requeue_lost(max_lost_attempts=2)[number == 2]) == 1
        if number < 2:
            of = claim(store)
            write(store, Write(of, change=[(call.id, {"answered": True})]))
            write(store, Write(of, append=[row(of, 2 * number + 2)]))
            store.claims.requeue([of])
            of = claim(store)

    assert store.turns.get(of.turn_id, "ann").status == "failed"


def test_requeue_counts_no_lost_attempt(store: Store) -> None:
    of, other = running(store), running(store)

    store.claims.requeue([of, other])

    again = claim(store)
    assert (again.recovered, again.lost_attempts) == (True, 0)


def test_concurrent_sweeps_requeue_each_turn_once(store: Store) -> None:
    claims = [running(store) for _ in range(4)]
    for of in claims:
        expire_lease(store, of)

    found = at_once(8, lambda _: store.recovery.all_users_requeue_lost(max_lost_attempts=3))

    assert sorted(turn.id for again, _ in found for turn in again) == sorted(of.turn_id for of in claims)


def test_recovery_ends_what_is_parked_and_interrupted(store: Store) -> None:
    forgotten, asking = running(store), running(store)
    for of in (forgotten, asking):
        park(store, of)
    with store.database.write() as connection:  # as a version before 0.1.0 left it
        connection.execute(turns.update().where(turns.c.id == forgotten.turn_id).values(interrupted=True))

    ended = at_once(4, lambda _: store.recovery.all_users_end_interrupted())

    assert [turn.id for found in ended for turn in found] == [forgotten.turn_id]
    assert phase(store, forgotten) == ("done", "interrupted")
    assert store.approvals.pending(forgotten.thread_id, "ann") == []
    assert phase(store, asking) == ("parked", "inProgress")


# -- published state


def test_published_state_only_grows(store: Store) -> None:
    of = running(store)
    item = row(of)
    write(store, Write(of, append=[item]))
    published = Published()
    for key in (f"item:{item.id}:completed", f"item:{item.id}:started", f"turn:{of.turn_id}:started", "turn:x:active"):
        published.note(key)

    store.commit([], published)
    store.commit([], Published(items={item.id: 1}))

    assert store.items.of_turn(of.turn_id)[0].published_state == 2
    assert store.turns.get(of.turn_id, "ann").published_state == 1


def test_unpublished_ends_and_approvals_are_found_after_a_while(store: Store) -> None:
    ended, asking, published_end = running(store), running(store), running(store)
    end(store, ended)
    park(store, asking)
    end(store, published_end)
    store.commit([], Published(turns={published_end.turn_id: 2}))
    assert store.recovery.all_users_unpublished() == []

    with store.database.write() as connection:
        connection.execute(turns.update().values(completed_at_ms=turns.c.completed_at_ms - 6000))
        connection.execute(approvals.update().values(created_at_ms=approvals.c.created_at_ms - 6000))

    assert {turn.id for turn in store.recovery.all_users_unpublished()} == {ended.turn_id, asking.turn_id}


def test_turn_whose_rows_cannot_be_completed_ends_and_holds_up_no_other(store: Store) -> None:
    broken, other = running(store), running(store)
    with store.database.write() as connection:
        unreadable = update(pending_inputs).where(pending_inputs.c.turn_id == broken.turn_id)
        connection.execute(unreadable.values(input=[{"type": "message of no known kind"}]))
        connection.execute(update(turns).values(lease_until_ms=0))

    _, failed = store.recovery.all_users_requeue_lost(max_lost_attempts=0)

    assert {turn.id for turn in failed} == {broken.turn_id, other.turn_id}
    assert phase(store, broken) == phase(store, other) == ("done", "failed")
