"""Open turns as operators see them: why each of them does not go on, the timeline of one, and how one is moved."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import update

from shared.clock import now_ms
from shared.store import Store
from shared.store.audit import AuditEntry
from shared.store.tables import turns, workers
from shared.store.turns import Claim
from shared.store.turns.open_turns import CLAIM_MS, SILENT_MS, OpenTurn
from shared.store.workers import LOST_MS, Worker
from shared.store.writes import Write
from tests.shared.store.records import claim, end, expire_lease, open_call, park, queued, row, running, write

WORKER = Worker("host:1:abc", "host", 1, "0.2.0", ["calls", "turns"], 2)
OPERATOR = AuditEntry.of_operator("turn requeue")


def only(store: Store, *, turns_at_once: int = 0) -> OpenTurn:
    (found,) = store.open_turns.all_users_list(turns_at_once=turns_at_once)
    return found


def running_in(store: Store, worker: Worker = WORKER) -> Claim:
    """Queue a turn and claim it as this worker process does."""
    queued(store)
    (made,) = store.claims.claim([f"{worker.name}:xyz"], lease_ms=30_000, turns_at_once=0)
    return made


def test_a_queued_turn_waits_for_a_worker_for_its_users_limit_for_a_slot_or_for_a_moment(store: Store) -> None:
    turn = queued(store)
    assert only(store).cause == "noWorker"
    store.workers.report(replace(WORKER, queues=["background"]))
    assert only(store).cause == "noWorker", "it takes no turns"
    store.workers.report(replace(WORKER, draining=True))
    assert "shutting down" in only(store).why

    store.workers.report(WORKER)
    assert only(store).cause == "claim"
    assert "about to" in only(store).why
    with store.database.write() as connection:
        connection.execute(update(turns).values(queued_at_ms=now_ms() - CLAIM_MS - 1000))
    assert "2 of 2 slots are free" in only(store).why

    claim(store)
    second = queued(store)
    found = {found.turn.id: found for found in store.open_turns.all_users_list(turns_at_once=1)}
    assert found[second.id].cause == "limit"
    assert "runs 1 turn and may run 1" in found[second.id].why
    store.limits.change("ann", {"turns_at_once": 7})
    found = {found.turn.id: found for found in store.open_turns.all_users_list(turns_at_once=1)}
    assert found[second.id].cause == "claim", "the user's own limit counts"
    claim(store)
    third = queued(store, "bob")
    found = {found.turn.id: found for found in store.open_turns.all_users_list(turns_at_once=0)}
    assert found[third.id].cause == "queue"
    assert found[turn.id].cause == "model"


def test_a_running_turn_is_at_a_model_call_in_a_tool_or_with_a_lost_worker(store: Store) -> None:
    store.workers.report(WORKER)
    held = running_in(store)
    assert (only(store).cause, only(store).worker) == ("model", WORKER.name)

    call = open_call(held)
    write(store, Write(held, append=[call]))
    write(store, Write(held, change=[(call.id, {"begun_at_ms": now_ms() - 600_000})]))
    assert only(store).cause == "tool"
    assert "exec_command runs for 10 min" in only(store).why
    assert abs(now_ms() - 600_000 - only(store).since_ms) < 60_000, "since its command began"
    with store.database.write() as connection:
        connection.execute(update(workers).values(seen_at_ms=workers.c.seen_at_ms - SILENT_MS - 1000))
    assert "; its worker is silent for 1" in only(store).why
    store.workers.report(replace(WORKER, problem="no bubblewrap"))
    assert "no bubblewrap" in only(store).why

    with store.database.write() as connection:
        connection.execute(update(workers).values(seen_at_ms=workers.c.seen_at_ms - LOST_MS - 1000))
    assert only(store).cause == "lostWorker"
    assert "silent" in only(store).why
    expire_lease(store, held)
    assert "no worker is there" in only(store).why
    store.workers.report(replace(WORKER, name="host:2:def"))
    assert "another worker queues it again" in only(store).why


def test_a_parked_turn_waits_for_an_answer(store: Store) -> None:
    park(store, running(store), expires_in_ms=3_600_000 * 3)

    assert only(store).cause == "approval"
    assert "item/commandExecution/requestApproval" in only(store).why
    assert "declined by itself in 2 h" in only(store).why


def test_the_list_is_filtered_by_user_state_worker_and_id(store: Store) -> None:
    first, second = running_in(store), queued(store, "bob")
    everything = {"turns_at_once": 0}

    def ids(**asked: str) -> set[str]:
        return {found.turn.id for found in store.open_turns.all_users_list(**everything, **asked)}  # type: ignore[arg-type]

    assert ids() == {first.turn_id, second.id}
    assert ids(owner="bob") == ids(phase="queued") == ids(turn_id=second.id) == {second.id}
    assert ids(worker="host:1") == {first.turn_id}
    assert ids(worker="host_1") == set()


def test_the_timeline_tells_what_happened_and_no_content(store: Store) -> None:
    held = running(store)
    at_ms = now_ms()
    message = row(held, started_at_ms=at_ms, completed_at_ms=at_ms, item={"text": "secret"})
    write(store, Write(held, append=[message]))
    park(store, held)
    request = store.approvals.of_turn(held.turn_id)[0]
    store.turns.answer(request.id, "ann", {"decision": "accept"})
    end(store, claim(store))

    found = store.open_turns.all_users_find(held.turn_id)
    assert found is not None
    turn, moments = found
    assert turn.status == "completed"
    what = [moment.what for moment in moments if "userMessage" not in moment.what]
    assert what.index("claimed for the first time") < what.index("claimed for the last time, claim 2")
    what.remove("claimed for the last time, claim 2")  # its place among moments of the same millisecond is open
    assert what == [
        "queued",
        "claimed for the first time",
        "agentMessage completed",
        "parked for an answer to item/commandExecution/requestApproval",
        "answered: accept",
        "completed",
    ]
    assert "secret" not in str(moments)
    assert store.open_turns.all_users_find("no-such-turn") is None


def test_requeue_takes_a_turn_from_its_worker_whose_writes_are_refused_then(store: Store) -> None:
    held = running(store)

    assert store.open_turns.all_users_requeue(held.turn_id, audit_entry=OPERATOR)
    assert not store.open_turns.all_users_requeue(held.turn_id, audit_entry=OPERATOR), "it runs no more"

    assert write(store, Write(held, append=[row(held)])) == ["lost"]
    again = claim(store)
    assert (again.turn_id, again.claim_no) == (held.turn_id, held.claim_no + 1)
    assert write(store, Write(held, append=[row(held)])) == ["lost"]
    assert [entry.action for entry in store.audit.all_users_page()][-1] == "turn requeue"


def test_a_backlog_of_one_user_does_not_hide_the_waiting_turn_of_another(store: Store) -> None:
    store.workers.report(WORKER)
    running_in(store)
    for _ in range(3):
        queued(store)
    bob = queued(store, "bob")

    waiting = {user.owner: user for user in store.open_turns.all_users_waiting(turns_at_once=1)}

    assert (waiting["ann"].cause, waiting["ann"].count) == ("limit", 3)
    assert (waiting["bob"].cause, waiting["bob"].count) == ("claim", 1)
    assert waiting["bob"].since_ms == store.turns.get(bob.id, "bob").created_at_ms


def test_no_words_of_users_or_models_reach_an_operators_screen(store: Store) -> None:
    held = running(store)
    call = open_call(held, begun_at_ms=now_ms())
    call = replace(call, model_items=[{**call.model_items[0], "name": "\x1b[2Jsecret"}])
    write(store, Write(held, append=[call, row(held, 2, kind="\x1b[2Jsecret", started_at_ms=1, completed_at_ms=2)]))
    assert "a tool call runs" in only(store).why
    park(store, held)
    request = store.approvals.of_turn(held.turn_id)[0]
    store.turns.answer(request.id, "ann", {"decision": "\x1b[2Jsecret"})

    found = store.open_turns.all_users_find(held.turn_id)

    assert found is not None
    assert "secret" not in str(found[1])
    assert "an item completed" in [moment.what for moment in found[1]]
    assert "answered: with an answer of its own" in [moment.what for moment in found[1]]
