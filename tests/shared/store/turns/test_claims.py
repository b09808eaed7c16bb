"""Claims: the order of turns, caps, leases, and the fence that keeps lost claims from writing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from sqlalchemy import insert, text, update

from shared.clock import now_ms
from shared.errors import ClaimLost, Overloaded
from shared.ids import new_id
from shared.store import Store
from shared.store.tables import turns
from shared.store.turns import Claim, rows
from shared.store.turns import claims as claim_moves
from shared.store.writes import End, Write
from tests.shared.store.records import (
    LEASE_MS,
    asked,
    at_once,
    begin,
    claim,
    end,
    expire_lease,
    phase,
    queued,
    read_all,
    row,
    running,
    thread,
    write,
)

# -- claim


def test_claim_returns_none_when_no_turn_waits(store: Store) -> None:
    assert store.claims.claim(["worker"], lease_ms=LEASE_MS, turns_at_once=0) == []


def test_claim_prefers_the_user_with_the_fewest_running_turns_then_the_oldest_turn(store: Store) -> None:
    ann = [queued(store, "ann") for _ in range(3)]
    bob = [queued(store, "bob") for _ in range(2)]

    order = [claim(store).turn_id for _ in range(5)]

    assert order == [ann[0].id, bob[0].id, ann[1].id, bob[1].id, ann[2].id]


def test_caps_and_fairness_hold_for_concurrent_claims(store: Store) -> None:
    for owner in ("ann", "ann", "ann", "ann", "ann", "ann", "bob", "cy"):
        queued(store, owner)

    made = at_once(8, lambda _: store.claims.claim(["worker"], lease_ms=LEASE_MS, turns_at_once=2))

    claims = [claim for claims in made for claim in claims]
    assert Counter(one.owner for one in claims) == {"ann": 2, "bob": 1, "cy": 1}
    assert len({one.turn_id for one in claims}) == 4
    assert store.recovery.all_users_count_phases()["queued"][0] == 4


def test_a_long_queue_of_one_user_delays_no_other_user_and_fills_all_workers_when_alone(store: Store) -> None:
    first = [queued(store, "ann") for _ in range(500)]
    alone = [claim(store) for _ in range(50)]
    bob = queued(store, "bob")

    end(store, alone[0])
    then = claim(store)
    end(store, alone[1])
    after = [claim(store) for _ in range(2)]

    assert [one.turn_id for one in alone] == [turn.id for turn in first[:50]]
    assert then.turn_id == bob.id
    assert [one.turn_id for one in after] == [turn.id for turn in first[50:52]]


def test_turns_run_in_proportion_to_their_users_weights(store: Store) -> None:
    store.limits.change("ann", {"weight": 3})
    for owner in ("ann", "bob"):
        for _ in range(12):
            queued(store, owner)

    claims = [claim(store) for _ in range(12)]

    assert Counter(one.owner for one in claims) == {"ann": 9, "bob": 3}


def test_a_users_own_cap_replaces_the_default(store: Store) -> None:
    store.limits.change("ann", {"turns_at_once": 3})
    store.limits.change("cy", {"turns_at_once": 0})
    for owner in ("ann", "bob", "cy"):
        for _ in range(5):
            queued(store, owner)

    made = at_once(15, lambda _: store.claims.claim(["worker"], lease_ms=LEASE_MS, turns_at_once=1))

    assert Counter(claim.owner for claims in made for claim in claims) == {"ann": 3, "bob": 1, "cy": 5}


def test_the_turns_that_may_run_now_are_those_that_claims_give_out(store: Store) -> None:
    store.limits.change("ann", {"turns_at_once": 3})
    store.limits.change("cy", {"turns_at_once": 0})
    for owner in ("ann", "bob", "cy", "dee"):
        for _ in range(2 if owner == "dee" else 5):
            queued(store, owner)

    counts = [store.claims.all_users_count_claimable(turns_at_once=4)]
    while store.claims.claim(["worker"], lease_ms=LEASE_MS, turns_at_once=4):
        counts.append(store.claims.all_users_count_claimable(turns_at_once=4))

    assert counts == list(range(3 + 4 + 5 + 2, -1, -1))
    assert {type(count) for count in counts} == {int}


def test_a_claim_reads_only_the_beginning_of_a_long_queue(store: Store) -> None:
    first, at_ms = queued(store), now_ms() + 1000
    records = [
        {
            **{"id": new_id(), "thread_id": new_id(), "owner": "ann", "phase": "queued", "status": "inProgress"},
            **{"options": {}, "created_at_ms": at_ms, "queued_at_ms": at_ms + number},
        }
        for number in range(10_000)
    ]
    with store.database.write() as connection:
        connection.execute(insert(turns), records)
        if not store.database.is_sqlite:
            connection.execute(text("ANALYZE turns"))
        explained = "EXPLAIN QUERY PLAN " if store.database.is_sqlite else "EXPLAIN (ANALYZE, FORMAT TEXT) "
        asked_for = claim_moves._FAIREST.params(turns_at_once=0)
        statement = asked_for.compile(store.database.engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explained}{statement}"))

    if store.database.is_sqlite:
        assert not re.search("SCAN (turns|one|later|runs)", plan), plan
        assert plan.count("TEMP B-TREE") == 1, plan  # the users, in their order
    else:
        read = [int(float(rows)) for rows in re.findall(r"actual time=\S+ rows=([\d.]+)", plan)]
        assert max(read) <= 10, plan
    assert claim(store).turn_id == first.id


def test_overloaded_names_a_retry_time_from_the_speed_of_the_queue(store: Store) -> None:
    waiting = [queued(store, owner) for owner in ("ann", "ann", "bob", "bob")]
    with store.database.write() as connection:
        long_ago = now_ms() - 40_000
        connection.execute(update(turns).where(turns.c.id == waiting[0].id).values(queued_at_ms=long_ago))
    limits = {"queued_limit": 2, "waiting_limit": 4}

    with pytest.raises(Overloaded) as own:
        store.turns.create_or_steer(thread(store, "ann").id, "ann", asked(), **limits)
    with pytest.raises(Overloaded) as all_users:
        store.turns.create_or_steer(thread(store, "cy").id, "cy", asked(), **limits)

    assert 20_000 <= own.value.retry_after_ms < 21_000  # two leave in 40 s
    assert 10_000 <= all_users.value.retry_after_ms < 11_000
    assert store.recovery.all_users_count_phases()["queued"][0] == 4


def test_concurrent_claims_claim_each_turn_once(store: Store) -> None:
    waiting = {queued(store, f"user{number % 3}").id for number in range(8)}

    made = at_once(8, lambda _: claim(store))

    assert {one.turn_id for one in made} == waiting


def test_the_claim_number_of_a_thread_only_grows(store: Store) -> None:
    of = thread(store)
    begin(store, of)
    first = claim(store)
    end(store, first)
    begin(store, of)

    second = claim(store)
    expire_lease(store, second)
    store.recovery.all_users_requeue_lost(max_lost_attempts=3)
    third = claim(store)

    assert [one.claim_no for one in (first, second, third)] == [1, 2, 3]
    assert [one.recovered for one in (first, second, third)] == [False, False, True]
    assert (third.lost_attempts, third.turn.claim_no) == (1, 3)


# -- fence


def test_a_lost_claim_writes_nothing_while_the_others_commit(store: Store) -> None:
    stale, fine = running(store), running(store)
    expire_lease(store, stale)
    store.recovery.all_users_requeue_lost(max_lost_attempts=3)
    current = claim(store)

    results = write(
        store,
        Write(stale, append=[row(stale)], usage={"total": {}}, end=End("completed", now_ms())),
        Write(fine, append=[row(fine)]),
        Write(current, append=[row(current)]),
    )

    assert results == ["lost", "ok", "ok"]
    assert current.turn_id == stale.turn_id
    assert len(store.items.of_turn(stale.turn_id)) == 1
    assert len(store.items.of_turn(fine.turn_id)) == 1
    assert phase(store, current) == ("running", "inProgress")
    assert store.read_step(stale).usage is None


@pytest.mark.parametrize(
    "move",
    [
        lambda store, stale: store.claims.park(stale, "m", new_id(), {}, [], expires_in_ms=1),
        lambda store, stale: (
            write(store, Write(stale, end=End("failed", now_ms()))) == ["lost"] or pytest.fail("wrote")
        ),
        lambda store, stale: store.claims.requeue([stale]),
        lambda store, stale: store.claims.renew([stale], lease_ms=1) == set() or pytest.fail("renewed"),
    ],
    ids=["park", "end", "requeue", "renew"],
)
def test_a_lost_claim_cannot_move_its_turn(store: Store, move: Callable[[Store, Claim], Any]) -> None:
    stale = running(store)
    expire_lease(store, stale)
    store.recovery.all_users_requeue_lost(max_lost_attempts=3)
    current = claim(store)

    try:
        move(store, stale)
    except ClaimLost:
        pass

    assert phase(store, current) == ("running", "inProgress")
    assert store.claims.renew([current], lease_ms=LEASE_MS) == {current.turn_id}
    assert store.recovery.all_users_requeue_lost(max_lost_attempts=3) == ([], [])


def test_concurrent_recovery_stores_no_row_of_a_stale_claim(store: Store) -> None:
    claims = [running(store) for _ in range(4)]

    def call(number: int) -> list[str]:
        of = claims[number % 4]
        if number < 4:
            return write(store, *[Write(of, append=[row(of, position)]) for position in range(1, 6)])
        expire_lease(store, of)
        store.recovery.all_users_requeue_lost(max_lost_attempts=9)
        return []

    results = at_once(8, call)

    for number, of in enumerate(claims):
        assert len(store.items.of_turn(of.turn_id)) == results[number].count("ok")


# -- park


def test_an_interrupted_turn_is_not_parked(store: Store) -> None:
    of = running(store)
    store.turns.interrupt(of.thread_id, "ann", of.turn_id)

    assert store.claims.park(of, "m", new_id(), {}, [], expires_in_ms=60_000) is None

    assert phase(store, of) == ("running", "inProgress")
    assert store.approvals.pending(of.thread_id, "ann") == []
    assert write(store, read_all(store, of), Write(of, end=End("interrupted", now_ms()))) == ["ok", "ok"]


def test_an_interrupt_that_races_with_parking_is_never_lost(store: Store) -> None:
    claims = [running(store) for _ in range(8)]

    def call(number: int) -> Any:
        of = claims[number % 8]
        if number < 8:
            return store.claims.park(of, "m", new_id(), {}, [], expires_in_ms=60_000)
        return store.turns.interrupt(of.thread_id, "ann", of.turn_id)

    results = at_once(16, call)

    for number, of in enumerate(claims):
        turn = store.turns.get(of.turn_id, "ann")
        assert turn.interrupted
        assert turn.phase == ("running" if results[number] is None else "done")
        assert store.approvals.pending(of.thread_id, "ann") == []


def test_an_interrupt_that_waits_for_the_parking_transaction_ends_the_turn(store: Store) -> None:
    of = running(store)
    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as connection:  # as in the middle of `park`
            claim_moves.fence(connection, [of])
            interrupted = pool.submit(store.turns.interrupt, of.thread_id, "ann", of.turn_id)
            assert wait([interrupted], 0.1).not_done
            rows.leave_running(connection, of.turn_id, "parked")

        assert interrupted.result(60).phase == "done"
    assert phase(store, of) == ("done", "interrupted")
