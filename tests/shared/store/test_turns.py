"""The moves of a turn, each tried alone, out of turn, and by many at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update

from shared.clock import now_ms
from shared.errors import ClaimLost, Conflict, InvalidRequest, NotFound, Overloaded
from shared.ids import new_id
from shared.store import Store
from shared.store import turns as moves
from shared.store.tables import approvals, items, mail, threads, turns
from shared.store.turns import Claim
from shared.store.writes import Announced, End, Write
from tests.shared.store.records import (
    LEASE_MS,
    asked,
    at_once,
    begin,
    claim,
    end,
    expire_lease,
    open_call,
    park,
    queued,
    read_all,
    row,
    running,
    thread,
    write,
)


def phase(store: Store, of: Claim) -> tuple[str, str]:
    turn = store.turns.get(of.turn_id, of.owner)
    return turn.phase, turn.status


# -- create


def test_a_turn_begins_queued_and_its_input_is_unread(store: Store) -> None:
    of = thread(store)

    turn, is_new = store.turns.create_or_steer(of.id, "ann", asked("hello", "c1"), queued_limit=0)

    assert is_new
    assert (turn.phase, turn.status, turn.claim_no) == ("queued", "inProgress", 0)
    assert [letter.client_id for letter in store.turns.unread(turn.id)] == ["c1"]
    seen = store.threads.get(of.id, "ann")
    assert (seen.preview, seen.materialized, seen.active_turn) == ("hello", True, turn.id)


def test_input_for_an_active_turn_goes_to_that_turn(store: Store) -> None:
    of = thread(store)
    turn = begin(store, of, "one")

    same, is_new = store.turns.create_or_steer(of.id, "ann", asked("two"), queued_limit=1)

    assert (same.id, is_new) == (turn.id, False)
    assert [letter.input[0]["text"] for letter in store.turns.unread(turn.id)] == ["one", "two"]


def test_of_many_inputs_at_once_one_begins_the_turn(store: Store) -> None:
    of = thread(store)

    made = at_once(8, lambda n: store.turns.create_or_steer(of.id, "ann", asked(f"{n}"), queued_limit=0))

    assert len({turn.id for turn, _ in made}) == 1
    assert [is_new for _, is_new in made].count(True) == 1
    assert len(store.turns.unread(made[0][0].id)) == 8


def test_the_same_client_id_changes_nothing_the_second_time(store: Store) -> None:
    of = thread(store)

    made = at_once(8, lambda _: store.turns.create_or_steer(of.id, "ann", asked("x", "c1"), queued_limit=0))
    first = made[0][0]
    claimed = claim(store)
    begin(store, of, "steered", "c2")
    end(store, claimed)

    assert len({turn.id for turn, _ in made}) == 1
    assert len(store.turns.of_thread(of.id, "ann")) == 1
    assert begin(store, of, "again", "c1").id == first.id
    assert begin(store, of, "again", "c2").id == first.id
    assert begin(store, of, "new", "c3").id != first.id


def test_what_a_turn_cannot_begin_on(store: Store) -> None:
    of = thread(store)
    archived = thread(store)
    store.threads.archive(archived.id, "ann")

    with pytest.raises(InvalidRequest, match="invalid thread id"):
        store.turns.create_or_steer("x", "ann", asked(), queued_limit=0)
    with pytest.raises(NotFound):
        store.turns.create_or_steer(new_id(), "ann", asked(), queued_limit=0)
    with pytest.raises(Conflict, match="archived"):
        begin(store, archived)
    queued(store)
    with pytest.raises(Overloaded):
        store.turns.create_or_steer(of.id, "ann", asked(), queued_limit=1)
    assert store.turns.create_or_steer(thread(store, "bob").id, "bob", asked(), queued_limit=1)[1]


def test_a_thread_that_is_deleted_while_a_turn_begins_leaves_no_turn_behind(store: Store) -> None:
    made = [thread(store) for _ in range(8)]

    def call(number: int) -> None:
        of = made[number % 8]
        try:
            if number < 8:
                begin(store, of)
            else:
                store.threads.delete(of.id, "ann")
        except NotFound:
            pass

    at_once(16, call)

    with store.database.read() as connection:
        orphans = select(func.count()).where(turns.c.thread_id.not_in(select(threads.c.id)))
        assert connection.scalar(orphans) == 0
    while store.turns.claim("worker", lease_ms=LEASE_MS, turns_at_once=0) is not None:
        pass


# -- claim


def test_nothing_to_claim(store: Store) -> None:
    assert store.turns.claim("worker", lease_ms=LEASE_MS, turns_at_once=0) is None


def test_the_user_with_the_fewest_running_turns_comes_first_then_the_oldest_turn(store: Store) -> None:
    ann = [queued(store, "ann") for _ in range(3)]
    bob = [queued(store, "bob") for _ in range(2)]

    order = [claim(store).turn_id for _ in range(5)]

    assert order == [ann[0].id, bob[0].id, ann[1].id, bob[1].id, ann[2].id]


def test_caps_and_fairness_hold_when_many_claim_at_once(store: Store) -> None:
    for owner in ("ann", "ann", "ann", "ann", "ann", "ann", "bob", "cy"):
        queued(store, owner)

    made = at_once(8, lambda _: store.turns.claim("worker", lease_ms=LEASE_MS, turns_at_once=2))

    claims = [one for one in made if one is not None]
    assert Counter(one.owner for one in claims) == {"ann": 2, "bob": 1, "cy": 1}
    assert len({one.turn_id for one in claims}) == 4
    assert store.turns.all_users_waiting() == 4


def test_a_user_who_queues_hundreds_of_turns_keeps_nobody_waiting_and_alone_gets_every_place(store: Store) -> None:
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


def test_turns_run_in_proportion_to_the_weights_of_their_users(store: Store) -> None:
    store.limits.change("ann", {"weight": 3})
    for owner in ("ann", "bob"):
        for _ in range(12):
            queued(store, owner)

    claims = [claim(store) for _ in range(12)]

    assert Counter(one.owner for one in claims) == {"ann": 9, "bob": 3}


def test_a_cap_of_ones_own_counts_before_the_default(store: Store) -> None:
    store.limits.change("ann", {"turns_at_once": 3})
    store.limits.change("cy", {"turns_at_once": 0})
    for owner in ("ann", "bob", "cy"):
        for _ in range(5):
            queued(store, owner)

    made = at_once(15, lambda _: store.turns.claim("worker", lease_ms=LEASE_MS, turns_at_once=1))

    assert Counter(one.owner for one in made if one is not None) == {"ann": 3, "bob": 1, "cy": 5}


def test_a_claim_looks_at_no_more_of_a_long_queue_than_its_beginning(store: Store) -> None:
    first, at_ms = queued(store), now_ms() + 1000
    rows = [
        {
            **{"id": new_id(), "thread_id": new_id(), "owner": "ann", "phase": "queued", "status": "inProgress"},
            **{"options": {}, "created_at_ms": at_ms, "queued_at_ms": at_ms + number},
        }
        for number in range(10_000)
    ]
    with store.database.write() as connection:
        connection.execute(insert(turns), rows)
        if not store.database.is_sqlite:
            connection.execute(text("ANALYZE turns"))
        explained = "EXPLAIN QUERY PLAN " if store.database.is_sqlite else "EXPLAIN (ANALYZE, FORMAT TEXT) "
        asked_for = moves._FAIREST.params(turns_at_once=0)
        statement = asked_for.compile(store.database.engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"{explained}{statement}"))

    if store.database.is_sqlite:
        assert not re.search("SCAN (turns|one|later|runs)", plan), plan
        assert plan.count("TEMP B-TREE") == 1, plan  # the users, in their order
    else:
        read = [int(float(rows)) for rows in re.findall(r"actual time=\S+ rows=([\d.]+)", plan)]
        assert max(read) <= 10, plan
    assert claim(store).turn_id == first.id


def test_who_finds_no_place_is_told_how_fast_the_queue_moves(store: Store) -> None:
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
    assert store.turns.all_users_waiting() == 4


def test_each_turn_is_claimed_once_when_many_claim_at_once(store: Store) -> None:
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
    store.turns.all_users_recover(max_lost=3)
    third = claim(store)

    assert [one.claim_no for one in (first, second, third)] == [1, 2, 3]
    assert [one.recovered for one in (first, second, third)] == [False, False, True]
    assert (third.lost, third.turn.claim_no) == (1, 3)


# -- fence


def test_a_claim_that_was_lost_writes_nothing_and_the_others_commit(store: Store) -> None:
    stale, fine = running(store), running(store)
    expire_lease(store, stale)
    store.turns.all_users_recover(max_lost=3)
    taken = claim(store)

    results = write(
        store,
        Write(stale, append=[row(stale)], usage={"total": {}}, end=End("completed", now_ms())),
        Write(fine, append=[row(fine)]),
        Write(taken, append=[row(taken)]),
    )

    assert results == ["lost", "ok", "ok"]
    assert taken.turn_id == stale.turn_id
    assert len(store.items.of_turn(stale.turn_id)) == 1
    assert len(store.items.of_turn(fine.turn_id)) == 1
    assert phase(store, taken) == ("running", "inProgress")
    assert store.read_step(stale).usage is None


@pytest.mark.parametrize(
    "move",
    [
        lambda store, stale: store.turns.park(stale, "m", new_id(), {}, [], expires_in_ms=1),
        lambda store, stale: (
            write(store, Write(stale, end=End("failed", now_ms()))) == ["lost"] or pytest.fail("wrote")
        ),
        lambda store, stale: store.turns.hand_over([stale]),
        lambda store, stale: store.turns.renew([stale], lease_ms=1) == set() or pytest.fail("renewed"),
    ],
    ids=["park", "end", "hand_over", "renew"],
)
def test_a_claim_that_was_lost_moves_nothing(store: Store, move: Callable[[Store, Claim], Any]) -> None:
    stale = running(store)
    expire_lease(store, stale)
    store.turns.all_users_recover(max_lost=3)
    taken = claim(store)

    try:
        move(store, stale)
    except ClaimLost:
        pass

    assert phase(store, taken) == ("running", "inProgress")
    assert store.turns.renew([taken], lease_ms=LEASE_MS) == {taken.turn_id}
    assert store.turns.all_users_recover(max_lost=3) == ([], [])


def test_writers_and_recoverers_at_once_let_no_stale_row_in(store: Store) -> None:
    claims = [running(store) for _ in range(4)]

    def call(number: int) -> list[str]:
        of = claims[number % 4]
        if number < 4:
            return write(store, *[Write(of, append=[row(of, position)]) for position in range(1, 6)])
        expire_lease(store, of)
        store.turns.all_users_recover(max_lost=9)
        return []

    results = at_once(8, call)

    for number, of in enumerate(claims):
        assert len(store.items.of_turn(of.turn_id)) == results[number].count("ok")


# -- end


def test_a_turn_does_not_end_while_input_is_unread(store: Store) -> None:
    of = running(store)

    refused = write(store, Write(of, append=[row(of)], end=End("completed", now_ms())))
    results = end(store, of)

    assert (refused, results) == (["unread"], ["ok"])
    assert len(store.items.of_turn(of.turn_id)) == 1
    assert phase(store, of) == ("done", "completed")


def test_input_that_races_with_the_end_is_never_lost(store: Store) -> None:
    claims = [running(store) for _ in range(4)]
    for of in claims:
        write(store, read_all(store, of))

    def call(number: int) -> Any:
        of = claims[number % 4]
        if number < 4:
            return write(store, Write(of, end=End("completed", now_ms())))[0]
        return store.turns.create_or_steer(of.thread_id, "ann", asked("late"), queued_limit=0)[0].id

    results = at_once(8, call)

    for number, of in enumerate(claims):
        went_to = results[number + 4]
        assert (went_to == of.turn_id) is (results[number] == "unread")
        assert len(store.turns.unread(went_to)) == 1


def test_an_end_is_final(store: Store) -> None:
    of = running(store)
    end(store, of)

    again = write(store, Write(of, end=End("failed", now_ms())))

    assert again == ["lost"]
    assert phase(store, of) == ("done", "completed")
    with pytest.raises(Conflict, match="no active turn to interrupt"):
        store.turns.interrupt(of.thread_id, "ann", None)
    assert begin(store, store.threads.get(of.thread_id, "ann")).id != of.turn_id


# -- questions


def test_a_parked_turn_waits_for_its_answer(store: Store) -> None:
    of = running(store)

    approval = park(store, of)

    assert phase(store, of) == ("parked", "inProgress")
    assert store.turns.claim("worker", lease_ms=LEASE_MS, turns_at_once=0) is None
    assert [one.id for one in store.approvals.pending(of.thread_id, "ann")] == [approval.id]
    assert store.threads.get(of.thread_id, "ann").status()["activeFlags"] == ["waitingOnApproval"]
    answered = store.turns.answer(approval.id, "ann", {"decision": "accept"})
    assert answered is not None
    assert answered.phase == "queued"
    assert claim(store).recovered


def test_the_first_answer_wins(store: Store) -> None:
    approval = park(store, running(store))

    taken = at_once(8, lambda n: store.turns.answer(approval.id, "ann", {"decision": f"{n}"}))

    winners = [number for number, turn in enumerate(taken) if turn is not None]
    found = store.approvals.find(approval.id, "ann")
    assert len(winners) == 1
    assert found is not None
    assert found.answer == {"decision": f"{winners[0]}"}


def test_a_question_expires_once(store: Store) -> None:
    approval = park(store, running(store), expires_in_ms=-1)
    park(store, running(store))

    expired = at_once(4, lambda _: store.turns.all_users_expire({"decision": "decline"}))

    assert [turn.id for turns in expired for turn in turns] == [approval.turn_id]
    assert store.turns.answer(approval.id, "ann", {"decision": "accept"}) is None


# -- interrupt


def test_stopping_a_turn_that_waits_in_the_queue_ends_it(store: Store) -> None:
    turn = queued(store)

    ended = store.turns.interrupt(turn.thread_id, "ann", turn.id)

    assert (ended.phase, ended.status) == ("done", "interrupted")
    assert [item.kind for item in store.items.of_turn(turn.id)] == ["userMessage"]
    assert store.turns.unread(turn.id) == []


def test_stopping_a_parked_turn_drops_its_question_and_answers_its_calls(store: Store) -> None:
    of = running(store)
    write(store, Write(of, append=[open_call(of)]))
    approval = park(store, of)

    ended = store.turns.interrupt(of.thread_id, "ann", None)

    assert (ended.status, ended.claim_no) == ("interrupted", 2)
    found = store.approvals.find(approval.id, "ann")
    assert found is not None
    assert found.state == "dropped"
    assert store.turns.answer(approval.id, "ann", {"decision": "accept"}) is None
    call = store.items.of_turn(of.turn_id)[0]
    assert call.answered
    assert "It was not run." in call.model_items[1]["output"]


def test_stopping_a_running_turn_is_left_to_its_worker(store: Store) -> None:
    of = running(store)

    for _ in range(2):
        turn = store.turns.interrupt(of.thread_id, "ann", of.turn_id)

    assert (turn.phase, turn.interrupted) == ("running", True)
    assert store.turns.is_interrupted(of.turn_id)
    stopped, steered = store.turns.called([of])
    assert stopped == {of.turn_id}
    assert steered == {of.turn_id: store.turns.unread(of.turn_id)[-1].id}


def test_stopping_another_turn_than_the_active_one_is_refused(store: Store) -> None:
    of, other = running(store), new_id()

    with pytest.raises(Conflict, match=f"expected active turn id {other} but found {of.turn_id}"):
        store.turns.interrupt(of.thread_id, "ann", other)
    with pytest.raises(Conflict, match=f"expected active turn id `{other}` but found `{of.turn_id}`"):
        store.turns.steer(of.thread_id, "ann", other, asked())
    assert not store.turns.is_interrupted(of.turn_id)


# -- recovery


def test_a_lease_that_holds_is_left_alone(store: Store) -> None:
    of = running(store)

    assert store.turns.all_users_recover(max_lost=3) == ([], [])
    assert store.turns.renew([of], lease_ms=LEASE_MS) == {of.turn_id}


def test_a_turn_is_given_up_after_the_last_loss_in_a_row(store: Store) -> None:
    of = running(store)
    for lost in range(3):
        write(store, Write(of, append=[open_call(of, lost + 1, begun_at_ms=now_ms())])) if lost == 0 else None
        expire_lease(store, of)
        assert len(store.turns.all_users_recover(max_lost=2)[lost == 2]) == 1
        if lost < 2:
            of = claim(store)

    ended = store.turns.get(of.turn_id, "ann")
    assert (ended.status, ended.phase) == ("failed", "done")
    assert ended.error is not None
    assert "3 workers were lost" in ended.error["message"]
    call, said = store.items.of_turn(of.turn_id)
    assert "outcome is unknown" in call.model_items[1]["output"]
    assert said.kind == "userMessage"


def test_a_stored_item_starts_the_count_of_losses_anew(store: Store) -> None:
    of = running(store)
    for number in range(6):
        expire_lease(store, of)
        store.turns.all_users_recover(max_lost=1)
        of = claim(store)
        write(store, Write(of, append=[row(of, number + 1)]))

    assert phase(store, of) == ("running", "inProgress")


def test_a_shutdown_queues_its_turns_again_without_counting_a_loss(store: Store) -> None:
    of, other = running(store), running(store)

    store.turns.hand_over([of, other])

    again = claim(store)
    assert (again.recovered, again.lost) == (True, 0)


def test_many_that_recover_at_once_queue_each_turn_once(store: Store) -> None:
    claims = [running(store) for _ in range(4)]
    for of in claims:
        expire_lease(store, of)

    found = at_once(8, lambda _: store.turns.all_users_recover(max_lost=3))

    assert sorted(turn.id for again, _ in found for turn in again) == sorted(of.turn_id for of in claims)


# -- announced


def test_what_was_announced_only_grows(store: Store) -> None:
    of = running(store)
    item = row(of)
    write(store, Write(of, append=[item]))
    announced = Announced()
    for key in (f"item:{item.id}:completed", f"item:{item.id}:started", f"turn:{of.turn_id}:started", "turn:x:active"):
        announced.note(key)

    store.commit([], announced)
    store.commit([], Announced(items={item.id: 1}))

    assert store.items.of_turn(of.turn_id)[0].announced == 2
    assert store.turns.get(of.turn_id, "ann").announced == 1


def test_ends_and_questions_that_nobody_told_are_found_after_a_while(store: Store) -> None:
    ended, asking, told = running(store), running(store), running(store)
    end(store, ended)
    park(store, asking)
    end(store, told)
    store.commit([], Announced(turns={told.turn_id: 2}))
    assert store.turns.all_users_untold() == []

    with store.database.write() as connection:
        connection.execute(turns.update().values(completed_at_ms=turns.c.completed_at_ms - 6000))
        connection.execute(approvals.update().values(created_at_ms=approvals.c.created_at_ms - 6000))

    assert {turn.id for turn in store.turns.all_users_untold()} == {ended.turn_id, asking.turn_id}


# -- owners


def test_somebody_elses_ids_answer_like_unknown_ones(store: Store) -> None:
    of = running(store, "ann")
    approval = park(store, of)
    calls: list[Callable[[str, int], Any]] = [
        lambda thread_id, _: store.turns.create_or_steer(thread_id, "eve", asked(), queued_limit=0),
        lambda thread_id, _: store.turns.steer(thread_id, "eve", of.turn_id, asked()),
        lambda thread_id, _: store.turns.interrupt(thread_id, "eve", None),
        lambda thread_id, _: store.turns.of_thread(thread_id, "eve"),
        lambda thread_id, _: store.threads.get(thread_id, "eve"),
        lambda thread_id, _: store.threads.find(thread_id, "eve"),
        lambda thread_id, _: store.threads.change_settings(thread_id, "eve", {"model": "evil"}),
        lambda thread_id, _: store.threads.set_name(thread_id, "eve", "x"),
        lambda thread_id, _: store.threads.set_git_info(thread_id, "eve", None),
        lambda thread_id, _: store.threads.archive(thread_id, "eve"),
        lambda thread_id, _: store.threads.unarchive(thread_id, "eve"),
        lambda thread_id, _: store.threads.delete(thread_id, "eve"),
        lambda thread_id, _: store.items.completed(thread_id, "eve", [of.turn_id]),
        lambda thread_id, _: store.items.page(
            thread_id, "eve", turn_id=None, after=None, inclusive=False, descending=False, limit=9
        ),
        lambda thread_id, _: store.approvals.pending(thread_id, "eve"),
        lambda _, request_id: store.approvals.find(request_id, "eve"),
        lambda _, request_id: store.turns.answer(request_id, "eve", {"decision": "accept"}),
    ]

    def outcome(call: Callable[[str, int], Any], thread_id: str, request_id: int) -> Any:
        try:
            return call(thread_id, request_id)
        except NotFound as error:
            return type(error), str(error).replace(thread_id, "ID")

    before = store.threads.get(of.thread_id, "ann")
    for call in calls:
        assert outcome(call, of.thread_id, approval.id) == outcome(call, new_id(), 999_999)
    assert store.threads.get(of.thread_id, "ann") == before
    with pytest.raises(NotFound):
        store.turns.get(of.turn_id, "eve")
    assert len(store.approvals.pending(of.thread_id, "ann")) == 1


def test_a_deleted_thread_leaves_no_row(store: Store) -> None:
    of, kept = running(store), running(store)
    write(store, Write(of, append=[row(of)]), Write(kept, append=[row(kept)]))
    park(store, of)
    park(store, kept)

    store.threads.delete(of.thread_id, "ann")

    with store.database.read() as connection:
        for table in (threads, turns, items, approvals, mail):
            assert connection.scalar(select(func.count()).select_from(table)) == 1, table.name
    assert write(store, Write(of, append=[row(of, 2)])) == ["lost"]
