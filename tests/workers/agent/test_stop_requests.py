"""Stop requests to a running turn: steer, interrupt, drain."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from shared.events import turn_signals
from shared.store.audit import AuditEntry
from shared.store.threads import Thread
from shared.store.turns import Claim
from tests.builders import SilentQueue, unread_inputs
from tests.support import order
from tests.support.wait import until
from tests.workers.agent.test_turn import inputs, outputs, texts, types
from tests.workers.builders import Bench

WAITS = "touch started; until [ -e go ]; do sleep 0.02; done; echo over"


def steer(bench: Bench, thread: Thread, text: str) -> None:
    turn = bench.begin(thread, text)
    turn_signals.publish(bench.connect(), turn_signals.STEER, turn.id)


def interrupt(bench: Bench, thread: Thread) -> None:
    turn = bench.workers[0].store.turns.interrupt(thread.id, thread.owner, None)
    turn_signals.publish(bench.connect(), turn_signals.INTERRUPT, turn.id)


def wait_for_file(path: Path) -> None:
    until(path.exists)


def test_steer_cuts_the_stream_and_reaches_the_model(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[say half of it]][[pause p]][[say the rest]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    steer(bench, thread, "be brief")
    bench.model.wait_hung_up("p")
    running.join()

    bench.settle()
    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "completed"}
    assert types(bench.shown(thread)) == ["userMessage", "userMessage", "agentMessage"]
    assert bench.shown(thread)[-1]["text"] == "You said: be brief"
    abandoned = [item for item_id, item in seen.started.items() if item_id not in seen.completed]
    assert types(abandoned) == ["agentMessage"]
    assert texts(bench, "assistant") == []
    assert bench.workers[0].log.snapshot(thread.id).open_items == []


def test_steer_waits_for_a_running_command(bench: Bench) -> None:
    thread = bench.thread()
    bench.begin(thread, f"[[run {WAITS}]]")
    running = bench.start_run()
    wait_for_file(bench.cwd / "started")

    steer(bench, thread, "and then?")
    (bench.cwd / "go").touch()
    running.join()

    bench.settle()
    order.check(bench.events(thread))
    assert types(bench.shown(thread)) == ["userMessage", "commandExecution", "userMessage", "agentMessage"]
    assert bench.shown(thread)[1]["status"] == "completed"
    assert inputs(bench)[-1]["content"][0]["text"] == "and then?"


def test_input_during_the_last_answer_is_answered_in_the_same_turn(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[say one]][[pause p]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    bench.begin(thread, "two")  # without a signal: the end of the turn must find it
    bench.model.release("p")
    running.join()

    bench.settle()
    assert order.check(bench.events(thread)).turns == {turn.id: "completed"}
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage", "userMessage", "agentMessage"]


def test_interrupt_cuts_the_stream_and_ends_the_turn(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[say half]][[pause p]][[say never]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    interrupt(bench, thread)
    bench.model.wait_hung_up("p")
    running.join()

    bench.settle()
    seen = order.check(bench.events(thread))
    ended = bench.turn(turn)
    assert (ended.status, ended.error, seen.turns) == ("interrupted", None, {turn.id: "interrupted"})
    assert types(bench.shown(thread)) == ["userMessage"]
    assert bench.run_turn(thread, "hello").status == "completed"


def test_interrupt_ends_all_processes_of_a_command_before_the_turn(bench: Bench) -> None:
    thread = bench.thread()
    patch = "[[patch *** Begin Patch\n*** Add File: second\n+one\n*** End Patch]]"
    turn = bench.begin(thread, f"[[run (sleep 60; touch escaped) & touch started; sleep 60]]+{patch}")
    running = bench.start_run()
    wait_for_file(bench.cwd / "started")

    interrupt(bench, thread)
    running.join()

    bench.settle()
    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "interrupted"}
    command = bench.shown(thread)[1]
    assert (command["type"], command["status"]) == ("commandExecution", "failed")
    assert not (bench.cwd / "second").exists()
    bench.run_turn(thread, "hello")
    assert "stopped by interrupt" in outputs(bench)[0]
    assert "not run" in outputs(bench)[1]


def test_input_before_an_interrupt_is_kept(bench: Bench) -> None:
    thread = bench.thread()
    bench.begin(thread, "[[say half]][[pause p]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    bench.begin(thread, "one more thing")
    interrupt(bench, thread)
    running.join()

    messages = [item["content"][0]["text"] for item in bench.shown(thread)]
    assert messages == ["[[say half]][[pause p]]", "one more thing"]


def test_lease_renewal_finds_an_interrupt_without_a_signal(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(server={"renewal_seconds": 0.1})
    thread = bench.thread()
    turn = bench.begin(thread, "[[say half]][[pause p]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    bench.workers[0].store.turns.interrupt(thread.id, thread.owner, turn.id)
    running.join()

    assert bench.turn(turn).status == "interrupted"


def test_lease_renewal_does_not_steer_for_input_that_a_step_has_read(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_bench(server={"renewal_seconds": 0.02})
    claims, thread = bench.workers[0].journal_store.claims, bench.thread()
    turn = bench.begin(thread, "[[say half of it]][[pause p]][[say the rest]]")
    (pending,) = unread_inputs(bench.workers[0].store, turn.id)
    under_way, looks = threading.Event(), []

    def late_stops(_: Collection[Claim]) -> tuple[set[str], dict[str, int]]:
        if not under_way.is_set():
            return set(), {}
        looks.append(pending)
        return set(), {turn.id: pending.id}  # the step has read it, and has not committed that

    monkeypatch.setattr(claims, "requested_stops", late_stops)
    running = bench.start_run()
    bench.model.wait_reached("p")
    under_way.set()
    until(lambda: looks)
    bench.model.release("p")
    running.join()

    assert bench.turn(turn).status == "completed"
    assert len(bench.model.requests) == 1


def test_interrupt_ends_the_wait_before_a_retry(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[status 429 retry_after=50 Later.]]")
    running = bench.start_run()
    follower = bench.follow(thread)
    follower.wait_for("error")

    interrupt(bench, thread)
    running.join()

    assert bench.turn(turn).status == "interrupted"


@pytest.mark.parametrize("script", ["[[say half]][[pause p]][[say whole]]", f"[[run {WAITS}]][[pause p]][[say whole]]"])
def test_drain_requeues_the_turn_for_another_worker(bench: Bench, script: str) -> None:
    thread, other = bench.thread(), bench.worker()
    turn = bench.begin(thread, script)
    running = bench.start_run(bench.workers[0])
    if "run" in script:
        wait_for_file(bench.cwd / "started")
    else:
        bench.model.wait_reached("p")

    bench.workers[0].drain()
    (bench.cwd / "go").touch()
    running.join()
    assert bench.turn(turn).phase == "queued"
    bench.model.release("p")
    bench.run(other)

    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "completed"}
    assert bench.shown(thread)[-1]["text"] in ("half whole", "whole", "halfwhole")
    assert len(seen.completed) == len({item["id"] for item in bench.shown(thread)})


def test_drain_ends_a_long_command_and_reports_it_to_the_model(bench: Bench) -> None:
    thread, other = bench.thread(), bench.worker()
    turn = bench.begin(
        thread,
        f'[[tool exec_command {{"cmd": "echo ran >> log; {WAITS}", "yield_time_ms": 250}}]][[pause p]][[say whole]]',
    )
    running = bench.start_run(bench.workers[0])
    bench.model.wait_reached("p")  # the call has yielded; its command runs on
    until(lambda: (bench.cwd / "log").exists() and (bench.cwd / "log").read_text())

    bench.workers[0].drain()
    running.join()
    bench.model.release("p")
    bench.run(other)

    order.check(bench.events(thread), sessions=True)
    assert bench.turn(turn).status == "completed"
    assert (bench.cwd / "log").read_text() == "ran\n"
    assert bench.shown(thread)[1]["status"] == "failed"
    assert any("stopped by shutdown" in text for text in texts(bench, "developer"))


@pytest.mark.parametrize("script", ["[[say half]][[pause p]]", "[[run touch started; sleep 60]]"])
def test_a_turn_that_leaves_a_draining_worker_wakes_another_one(bench: Bench, script: str) -> None:
    queue: Any = SilentQueue()
    bench.workers[0].queue = queue
    thread = bench.thread()
    turn = bench.begin(thread, script)
    running = bench.start_run()
    if "run" in script:
        wait_for_file(bench.cwd / "started")
    else:
        bench.model.wait_reached("p")

    bench.workers[0].drain()
    if "run" in script:  # the turn ends; otherwise it is requeued
        interrupt(bench, thread)
    running.join()

    assert queue.enqueued == [turn.id]


def test_draining_worker_claims_no_turn(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "hello")

    bench.workers[0].drain()
    bench.start_run().join()

    assert bench.turn(turn).phase == "queued"


def test_interrupt_ends_a_queued_turn_and_keeps_its_input(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "never read")

    interrupt(bench, thread)
    bench.sweep()

    assert bench.turn(turn).status == "interrupted"
    assert types(bench.shown(thread)) == ["userMessage"]
    assert order.check(bench.events(thread)).turns == {turn.id: "interrupted"}


def test_a_worker_ends_the_command_of_a_turn_that_is_taken_from_it(open_bench: Callable[..., Bench]) -> None:
    seldom = {
        "lease_seconds": 6000.0,
        "authority_seconds": 5000.0,
        "renewal_seconds": 3000.0,
    }  # the signal must tell it
    bench = open_bench(server=seldom)
    thread = bench.thread()
    turn = bench.begin(thread, "[[run touch started; sleep 600]]")
    running = bench.start_run()
    wait_for_file(bench.cwd / "started")

    store = bench.workers[0].store
    assert store.open_turns.all_users_requeue(turn.id, audit_entry=AuditEntry.of_operator("turn requeue"))
    turn_signals.publish(bench.connect(), turn_signals.REQUEUED, turn.id)
    running.join()  # its command has ended

    bench.settle()
    assert bench.turn(turn).status == "completed", "the next claim went on with it"
    assert "unknown" in outputs(bench)[0]
