"""What requests do to turns: create, steer, interrupt and answer, alone and concurrently; what other users see."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from shared.errors import Conflict, HistoryTooLarge, InvalidRequest, NotFound, Overloaded
from shared.ids import new_id
from shared.store import Store
from shared.store.tables import approvals, items, pending_inputs, threads, turns
from shared.store.writes import Write
from tests.builders import is_interrupted, unread_inputs
from tests.shared.store.records import (
    LEASE_MS,
    SETTINGS,
    a_transaction_waits,
    asked,
    at_once,
    begin,
    claim,
    end,
    open_call,
    park,
    phase,
    queued,
    read_all,
    row,
    running,
    thread,
    write,
)
from tests.support.wait import DEADLINE_SECONDS, until

# -- create


def test_a_new_turn_is_queued_with_its_input_pending(store: Store) -> None:
    of = thread(store)

    turn, is_new = store.turns.create_or_steer(of.id, "ann", asked("hello", "c1"), queued_limit=0)

    assert is_new
    assert (turn.phase, turn.status, turn.claim_no) == ("queued", "inProgress", 0)
    assert [pending.client_id for pending in unread_inputs(store, turn.id)] == ["c1"]
    seen = store.threads.get(of.id, "ann")
    assert (seen.preview, seen.materialized, seen.active_turn) == ("hello", True, turn.id)


def test_input_for_a_thread_with_an_active_turn_is_added_to_that_turn(store: Store) -> None:
    of = thread(store)
    turn = begin(store, of, "one")

    same, is_new = store.turns.create_or_steer(of.id, "ann", asked("two"), queued_limit=1)

    assert (same.id, is_new) == (turn.id, False)
    assert [pending.input[0]["text"] for pending in unread_inputs(store, turn.id)] == ["one", "two"]


def test_concurrent_inputs_create_one_turn(store: Store) -> None:
    of = thread(store)

    made = at_once(8, lambda n: store.turns.create_or_steer(of.id, "ann", asked(f"{n}"), queued_limit=0))

    assert len({turn.id for turn, _ in made}) == 1
    assert [is_new for _, is_new in made].count(True) == 1
    assert len(unread_inputs(store, made[0][0].id)) == 8


def test_a_step_has_all_input_that_is_not_read_in_order(store: Store) -> None:
    of = running(store)
    for number in range(3):
        begin(store, store.threads.get(of.thread_id, "ann"), f"{number}", f"c{number}")

    step = store.read_step(of)

    assert [pending.client_id for pending in step.pending_inputs][1:] == ["c0", "c1", "c2"]
    assert step.settings == SETTINGS
    write(store, read_all(store, of))
    assert store.read_step(of).pending_inputs == []
    assert store.read_step(of).settings == SETTINGS


def test_a_repeated_client_id_changes_nothing(store: Store) -> None:
    of = thread(store)

    made = at_once(8, lambda _: store.turns.create_or_steer(of.id, "ann", asked("x", "c1"), queued_limit=0))
    first = made[0][0]
    claimed = claim(store)
    begin(store, of, "steered", "c2")
    end(store, claimed)

    assert len({turn.id for turn, _ in made}) == 1
    assert len(store.turns.of_thread(of.id, "ann")) == 1
    assert begin(store, of, "x", "c1").id == first.id
    assert begin(store, of, "steered", "c2").id == first.id
    assert begin(store, of, "new", "c3").id != first.id
    for client_id in ("c1", "c2"):
        with pytest.raises(Conflict, match="with other input"):
            begin(store, of, "something else", client_id)


def test_create_refuses_unknown_and_archived_threads_and_full_queues(store: Store) -> None:
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


def test_a_thread_deleted_while_turns_are_created_leaves_no_turn_behind(store: Store) -> None:
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
    while store.claims.claim(["worker"], lease_ms=LEASE_MS, turns_at_once=0):
        pass


@pytest.mark.parametrize("store", ["postgres"], indirect=True)
@pytest.mark.parametrize("is_active", [True, False])
def test_input_that_waited_for_its_thread_sees_it_as_it_is_then(store: Store, is_active: bool) -> None:
    of = running(store)
    if not is_active:
        end(store, of)
    changed = {"name": "new"} if is_active else {"archived_at_ms": 1}

    with ThreadPoolExecutor(1) as pool:
        with store.database.write() as connection:
            connection.execute(update(threads).where(threads.c.id == of.thread_id).values(**changed))
            late = pool.submit(store.turns.create_or_steer, of.thread_id, "ann", asked("late"), queued_limit=0)
            until(lambda: a_transaction_waits(store))

        if is_active:
            assert late.result(DEADLINE_SECONDS)[0].id == of.turn_id
        else:
            with pytest.raises(Conflict, match="archived"):
                late.result(DEADLINE_SECONDS)


# -- interrupt


def test_the_end_of_a_turn_is_seen_in_its_thread(store: Store) -> None:
    made = thread(store, updated_at_ms=1, recency_at_ms=1, used_at_ms=1)
    begin(store, made)
    of = claim(store)
    write(store, Write(of, append=[row(of, completed_at_ms=2)]))

    assert end(store, of)[-1] == "ok"

    ended = store.threads.get(made.id, made.owner)
    assert min(ended.updated_at_ms, ended.recency_at_ms) > 1
    with store.database.read() as connection:
        stored = connection.execute(select(threads).where(threads.c.id == made.id)).one()
    assert stored.stored_bytes >= len('{"text":"x"}')
    assert stored.session_due_at_ms > ended.updated_at_ms


def test_the_end_of_a_turn_makes_no_second_writer_of_a_session_file(store: Store) -> None:
    made = queued(store)
    with store.database.write() as connection:
        connection.execute(update(threads).values(session_due_at_ms=9_000_000_000_000))  # a writer is at work

    end(store, claim(store))

    with store.database.read() as connection:
        due_at_ms = connection.scalar(select(threads.c.session_due_at_ms).where(threads.c.id == made.thread_id))
    assert due_at_ms == 9_000_000_000_000


def test_input_that_makes_a_thread_too_large_is_refused(store: Store) -> None:
    made = thread(store)
    large = replace(asked("x" * 200_000), history_limit=300_000)

    store.turns.create_or_steer(made.id, made.owner, large, queued_limit=0)
    with pytest.raises(HistoryTooLarge):
        store.turns.create_or_steer(made.id, made.owner, large, queued_limit=0)  # the first waits to be read
    store.turns.create_or_steer(made.id, made.owner, asked("small"), queued_limit=0)

    with store.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(pending_inputs)) == 2


def test_interrupt_ends_a_queued_turn(store: Store) -> None:
    turn = queued(store)

    ended = store.turns.interrupt(turn.thread_id, "ann", turn.id)

    assert (ended.phase, ended.status) == ("done", "interrupted")
    assert [item.kind for item in store.items.of_turn(turn.id)] == ["userMessage"]
    assert unread_inputs(store, turn.id) == []


def test_interrupt_ends_a_parked_turn_drops_its_approval_and_answers_its_calls(store: Store) -> None:
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


def test_interrupt_leaves_the_end_of_a_running_turn_to_its_worker(store: Store) -> None:
    of = running(store)

    for _ in range(2):
        turn = store.turns.interrupt(of.thread_id, "ann", of.turn_id)

    assert (turn.phase, turn.interrupted) == ("running", True)
    assert is_interrupted(store, of.turn_id)
    stopped, steered = store.claims.requested_stops([of])
    assert stopped == {of.turn_id}
    assert steered == {of.turn_id: unread_inputs(store, of.turn_id)[-1].id}


def test_interrupt_and_steer_refuse_a_turn_that_is_not_the_active_one(store: Store) -> None:
    of, other = running(store), new_id()

    with pytest.raises(Conflict, match=f"expected active turn id {other} but found {of.turn_id}"):
        store.turns.interrupt(of.thread_id, "ann", other)
    with pytest.raises(Conflict, match=f"expected active turn id `{other}` but found `{of.turn_id}`"):
        store.turns.steer(of.thread_id, "ann", other, asked())
    assert not is_interrupted(store, of.turn_id)


# -- approvals


def test_a_parked_turn_is_queued_again_by_its_answer(store: Store) -> None:
    of = running(store)

    approval = park(store, of)

    assert phase(store, of) == ("parked", "inProgress")
    assert store.claims.claim(["worker"], lease_ms=LEASE_MS, turns_at_once=0) == []
    assert [one.id for one in store.approvals.pending(of.thread_id, "ann")] == [approval.id]
    assert store.threads.get(of.thread_id, "ann").status()["activeFlags"] == ["waitingOnApproval"]
    answered = store.turns.answer(approval.id, "ann", {"decision": "accept"})
    assert answered is not None
    assert answered.phase == "queued"
    assert claim(store).recovered


def test_the_first_of_concurrent_answers_wins(store: Store) -> None:
    approval = park(store, running(store))

    answered = at_once(8, lambda n: store.turns.answer(approval.id, "ann", {"decision": f"{n}"}))

    winners = [number for number, turn in enumerate(answered) if turn is not None]
    found = store.approvals.find(approval.id, "ann")
    assert len(winners) == 1
    assert found is not None
    assert found.answer == {"decision": f"{winners[0]}"}


def test_concurrent_sweeps_expire_an_approval_once(store: Store) -> None:
    approval = park(store, running(store), expires_in_ms=-1)
    park(store, running(store))

    expired = at_once(4, lambda _: store.recovery.all_users_expire_approvals({"decision": "decline"}))

    assert [turn.id for turns in expired for turn in turns] == [approval.turn_id]
    assert store.turns.answer(approval.id, "ann", {"decision": "accept"}) is None


# -- owners and deletion


def test_lists_leave_out_what_a_turn_was_asked_for(store: Store) -> None:
    of = thread(store)
    schema = {"outputSchema": {"type": "object"}}
    made, _ = store.turns.create_or_steer(of.id, of.owner, asked(options=schema), queued_limit=0)

    assert store.turns.of_thread(of.id, of.owner) == [replace(made, options={})]
    assert store.turns.get(made.id, of.owner).options == schema


def test_ids_of_another_user_behave_like_unknown_ids(store: Store) -> None:
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
        lambda thread_id, _: store.threads.change_git_info(thread_id, "eve", lambda _: None),
        lambda thread_id, _: store.threads.archive(thread_id, "eve"),
        lambda thread_id, _: store.threads.unarchive(thread_id, "eve"),
        lambda thread_id, _: store.threads.delete(thread_id, "eve"),
        lambda thread_id, _: store.items.completed(thread_id, "eve", [of.turn_id]),
        lambda thread_id, _: store.items.sizes(thread_id, "eve", [of.turn_id]),
        lambda thread_id, _: store.items.page(
            thread_id, "eve", turn_id=None, after=None, inclusive=False, descending=False, limit=9, limit_bytes=9
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
        for table in (threads, turns, items, approvals, pending_inputs):
            assert connection.scalar(select(func.count()).select_from(table)) == 1, table.name
    assert write(store, Write(of, append=[row(of, 2)])) == ["lost"]
