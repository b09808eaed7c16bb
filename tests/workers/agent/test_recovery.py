"""A worker is lost at some point: another one completes the turn, and late writes of the lost one change nothing.

The lost worker is frozen at a named point and its lease ends; another worker runs the turn; then the lost one goes on.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.store.items import Item
from shared.store.turns import Turn
from tests.support import order
from tests.support.wait import until
from tests.workers.agent.test_turn import outputs, texts, types
from tests.workers.builders import DEADLINE_SECONDS, Bench, Freeze, Unreliable
from workers import sweep
from workers.agent import tool_calls
from workers.control import fault_points
from workers.tools.base import Tool

SCRIPT = "[[say Look.]][[run echo ran >> log]][[say All done.]]"
POINTS = {
    # point: (commands that ran in the end, what the model reads about the call)
    "after_claim": (1, "Process exited with code 0"),
    "mid_stream": (1, "Process exited with code 0"),
    "mid_answer": (1, "Process exited with code 0"),
    "before_end": (1, "Process exited with code 0"),
    "before_begun": (1, "Process exited with code 0"),
    "after_begun": (0, "outcome is unknown"),
    "before_ended": (1, "outcome is unknown"),
    "before_final_commit": (1, "Process exited with code 0"),
    "before_publish": (1, "Process exited with code 0"),
}


def ran(bench: Bench) -> int:
    log = bench.cwd / "log"
    return log.read_text().count("ran") if log.exists() else 0


def stored(rows: list[Item]) -> list[Any]:
    """Return what is stored of rows, without their published_state."""
    return [(row.id, row.position, row.kind, row.item, row.model_items, row.completed_at_ms) for row in rows]


@pytest.mark.parametrize("point", POINTS)
def test_turn_of_a_lost_worker_is_completed_and_the_late_worker_changes_nothing(bench: Bench, point: str) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    follower = bench.follow(thread)
    turn = bench.begin(thread, SCRIPT)
    freeze = Freeze()
    fault_points.call_at(point, freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)

    bench.lose(turn, other)
    bench.run(other) if point != "before_publish" else bench.sweep()
    rows, log = stored(bench.items(thread)), bench.events(thread)
    freeze.release()
    running.join()

    assert stored(bench.items(thread)) == rows
    assert bench.events(thread) == log
    assert (
        order.check(log, lost=True).turns == order.check(follower.received(), lost=True).turns == {turn.id: "completed"}
    )
    assert bench.turn(turn).status == "completed"
    runs, report = POINTS[point]
    assert ran(bench) == runs
    assert report in outputs(bench)[0]
    assert len(outputs(bench)) == 1
    shown = bench.shown(thread)
    assert types(shown) == ["userMessage", "agentMessage", "commandExecution", "agentMessage"]
    assert {item["id"] for item in shown} <= set(order.check(log, lost=True).completed)
    assert bench.run_turn(thread, "next").status == "completed"


def test_worker_that_lost_its_claim_meanwhile_begins_no_tool(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn, freeze = bench.begin(thread, SCRIPT), Freeze()
    fault_points.call_at("after_begun", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)
    bench.lose(turn, other)
    bench.run(other)
    begun: list[Tool] = []
    monkeypatch.setattr(tool_calls, "run_tool", lambda tool, *_: begun.append(tool))

    freeze.release()
    running.join()

    assert begun == []
    assert bench.turn(turn).status == "completed"


@pytest.mark.parametrize(("point", "answers"), [("mid_answer", 3), ("before_end", 2)])
def test_stored_items_are_not_repeated_when_their_worker_is_lost(bench: Bench, point: str, answers: int) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, SCRIPT)
    freeze = Freeze()
    fault_points.call_at(point, freeze)
    bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)
    lost.journal.stop(5)  # everything that the turn submitted is stored and published; nothing follows

    bench.lose(turn, other)
    bench.run(other)

    shown = bench.shown(thread)
    assert types(shown) == ["userMessage", "agentMessage", "commandExecution", "agentMessage"]
    assert [item["text"] for item in shown if item["type"] == "agentMessage"] == ["Look.", "All done."]
    assert len(bench.model.requests) == answers
    log = order.check(bench.events(thread), lost=True)
    assert set(log.completed) == {item["id"] for item in shown}
    usages = [params for method, params in bench.events(thread) if method == "thread/tokenUsage/updated"]
    assert usages[-1]["tokenUsage"]["total"]["totalTokens"] == 120 * 2
    next_turn = bench.begin(thread, "next")
    bench.run(other)
    assert bench.turn(next_turn).status == "completed"


def test_command_of_a_lost_worker_is_killed_and_not_run_again(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(server={"renewal_seconds": 0.2})
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, "[[run echo ran >> log; echo begins; sleep 60]][[say All done.]]")
    running = bench.start_run(lost)
    until(lambda: ran(bench))

    bench.lose(turn, other)
    running.join()  # its next renewal failed, so the command was killed
    bench.run(other)

    order.check(bench.events(thread), lost=True)
    assert ran(bench) == 1
    assert "outcome is unknown" in outputs(bench)[0]
    command = bench.shown(thread)[1]
    assert command["status"] == "failed"
    assert command["aggregatedOutput"].startswith("begins\n"), "the user keeps the output so far"
    assert "outcome is unknown" in command["aggregatedOutput"], "and reads what the model reads"
    assert bench.turn(turn).status == "completed"


def test_background_command_of_a_lost_worker_fails_and_is_reported_to_the_model(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    start = '[[tool exec_command {"cmd": "sleep 60", "yield_time_ms": 250}]]'
    turn = bench.begin(thread, f"{start}[[pause p]][[say All done.]]")
    running = bench.start_run(lost)
    bench.model.wait_reached("p")

    bench.lose(turn, other)
    bench.model.release("p")
    running.join()
    bench.run(other)

    order.check(bench.events(thread), sessions=True, lost=True)
    assert bench.shown(thread)[1]["status"] == "failed"
    assert any("commands that still ran" in text and "sleep 60" in text for text in texts(bench, "developer"))


def test_next_attempt_first_publishes_what_was_stored_and_not_published(bench: Bench) -> None:
    client = Unreliable(server=bench.redis_server)
    thread, lost, other = bench.thread(), bench.worker(lambda *_, **__: client), bench.worker()
    follower = bench.follow(thread)
    turn = bench.begin(thread, "[[pause p]][[say Look.]][[run echo ran >> log]][[say All done.]]")
    freeze = Freeze()
    fault_points.call_at("before_begun", freeze)
    running = bench.start_run(lost)
    bench.model.wait_reached("p")
    client.away = True
    bench.model.release("p")
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)

    bench.lose(turn, other)
    bench.run(other)
    freeze.release()
    running.join()
    client.away = False
    next_turn = bench.run_turn(thread, "next")

    log = bench.events(thread)
    assert order.check(log, lost=True).turns == {turn.id: "completed", next_turn.id: "completed"}
    assert set(order.check(follower.received(), lost=True).completed) == {item["id"] for item in bench.shown(thread)}


def test_pure_tool_is_run_again(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, '[[tool update_plan {"plan": [{"step": "Look", "status": "pending"}]}]]')
    freeze = Freeze()
    fault_points.call_at("after_begun", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)

    bench.lose(turn, other)
    bench.run(other)
    freeze.release()
    running.join()

    assert outputs(bench) == ["Plan updated"]


def test_second_attempt_in_the_same_process_fences_the_first(bench: Bench) -> None:
    thread, worker = bench.thread(), bench.workers[0]
    turn = bench.begin(thread, SCRIPT)
    freeze = Freeze()
    fault_points.call_at("after_begun", freeze)
    running = bench.start_run(worker)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)

    bench.lose(turn, worker)
    bench.run(worker)
    rows, log = stored(bench.items(thread)), bench.events(thread)
    freeze.release()
    running.join()

    assert stored(bench.items(thread)) == rows
    assert bench.events(thread) == log
    order.check(log, lost=True)
    assert "outcome is unknown" in outputs(bench)[0]


def test_turn_fails_after_too_many_lost_workers(bench: Bench) -> None:
    thread, other = bench.thread(), bench.worker()
    turn = bench.begin(thread, "[[say a]][[pause p]]")
    attempts = []
    for number in range(4):
        attempts.append(bench.start_run(bench.worker()))
        bench.model.wait_reached("p", count=number + 1)
        until(lambda: bench.shown(thread))  # rows before the first loss must not reset the count
        bench.lose(turn, other)
    ended = bench.turn(turn)
    bench.model.release("p")
    for attempt in attempts:
        attempt.join()

    assert ended.status == "failed"
    assert ended.error is not None
    assert "4 workers were lost" in ended.error["message"]
    assert bench.turn(turn) == ended
    assert order.check(bench.events(thread), lost=True).turns == {turn.id: "failed"}
    assert bench.run_turn(thread, "next").status == "completed"


def lose_workers(bench: Bench, turn: Turn, point: str, *, passed: list[int]) -> list[tuple[Freeze, threading.Thread]]:
    """Lose a worker at a point for each number in passed: how often it passes the point before."""
    frozen, other = [], bench.worker()
    for times in passed:
        freeze, hits = Freeze(), itertools.count()
        fault_points.call_at(point, lambda freeze=freeze, hits=hits, times=times: next(hits) < times or freeze())
        attempt = bench.start_run(bench.worker())
        assert freeze.reached.wait(DEADLINE_SECONDS)
        frozen.append((freeze, attempt))
        fault_points.call_at("", lambda: None)
        bench.lose(turn, other)
    return frozen


def release(frozen: list[tuple[Freeze, threading.Thread]]) -> None:
    for freeze, attempt in frozen:
        freeze.release()
        attempt.join()


def test_progress_makes_up_for_workers_that_were_lost_between_calls(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[run true]][[run true]][[run true]][[run true]][[run true]][[say Done.]]")

    frozen = lose_workers(bench, turn, "before_begun", passed=[0, 1, 1, 1, 1])
    bench.run(bench.workers[0])
    release(frozen)

    order.check(bench.events(thread), lost=True)
    assert bench.turn(turn).status == "completed"
    assert len(outputs(bench)) == 5


def test_model_that_repeats_a_call_which_kills_its_worker_does_not_kill_workers_for_ever(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[run kill]]" + "[[run look]][[run kill]]" * 5)

    frozen = lose_workers(bench, turn, "after_begun", passed=[0, 1, 1, 1])  # a call between them comes to its end
    ended = bench.turn(turn)
    release(frozen)

    assert ended.status == "failed"
    assert ended.error is not None
    assert "4 workers were lost" in ended.error["message"]
    assert order.check(bench.events(thread), lost=True).turns == {turn.id: "failed"}
    assert bench.run_turn(thread, "next").status == "completed"


def test_interrupt_after_a_loss_reports_begun_calls_as_unknown(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, "[[run echo ran >> log]]+[[patch *** Begin Patch\n*** Delete File: log\n*** End Patch]]")
    freeze = Freeze()
    fault_points.call_at("before_ended", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)

    bench.lose(turn, other)
    other.store.turns.interrupt(thread.id, thread.owner, turn.id)
    freeze.release()
    running.join()
    bench.sweep()
    bench.run_turn(thread, "next")

    order.check(bench.events(thread), lost=True)
    assert "outcome is unknown" in outputs(bench)[0]
    assert "not run" in outputs(bench)[1]
    assert ran(bench) == 1


def test_sweep_publishes_an_end_that_was_stored_and_not_published(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, "hello")
    freeze = Freeze()
    fault_points.call_at("before_publish", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)
    with other.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE turns SET completed_at_ms = completed_at_ms - 6000")

    sweep.publish_missing(other)

    log = bench.events(thread)
    assert order.check(log, lost=True).turns == {turn.id: "completed"}
    freeze.release()
    running.join()
    until(lambda: bench.turn(turn).published_state == 2)
    assert bench.events(thread) == log
    sweep.publish_missing(other)
    assert bench.events(thread) == log


def test_late_publication_of_an_old_turn_does_not_disturb_the_running_one(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    first = bench.begin(thread, "hello")
    freeze = Freeze()
    fault_points.call_at("before_publish", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)
    second = bench.begin(thread, "[[say half]][[pause p]][[say whole]]")
    going = bench.start_run(other)
    bench.model.wait_reached("p")
    until(lambda: any(params.get("delta") == "half" for _, params in bench.events(thread)))

    bench.sweep()

    assert [event[1]["turn"]["id"] for event in bench.events(thread) if event[0] == "turn/completed"] == [first.id]
    assert bench.events(thread)[-1][0] == "turn/completed"
    statuses = [params["status"]["type"] for method, params in bench.events(thread) if method.startswith("thread/st")]
    assert "idle" not in statuses
    assert len(other.log.snapshot(thread.id).open_items) == 1
    freeze.release()
    bench.model.release("p")
    running.join()
    going.join()
    assert bench.turn(second).status == "completed"


def test_input_that_came_while_no_worker_had_the_turn_is_read(bench: Bench, tmp_path: Path) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, "[[say a]][[pause p]]")
    running = bench.start_run(lost)
    bench.model.wait_reached("p")

    bench.lose(turn, other)
    bench.begin(thread, "more")
    bench.run(other)
    bench.model.release("p")
    running.join()

    order.check(bench.events(thread), lost=True)
    assert types(bench.shown(thread)) == ["userMessage", "userMessage", "agentMessage"]
