"""A worker that is lost at any point: another one carries the turn on, and what the lost one says late counts nothing.

The lost worker is frozen at a named point, its lease ends, another worker runs the turn; then it thaws and goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.store.items import Item
from tests.support import order
from tests.support.wait import until
from tests.workers.agent.test_turn import outputs, texts, types
from tests.workers.builders import Bench, Freeze, Unreliable
from workers.agent import faults, loop, sweep
from workers.tools.base import Tool

SCRIPT = "[[say Look.]][[run echo ran >> log]][[say All done.]]"
POINTS = {
    # point: (commands that ran in the end, what the model was told of the call)
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
    """Rows as they are, less what is known of their publication."""
    return [(row.id, row.position, row.kind, row.item, row.model_items, row.completed_at_ms) for row in rows]


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_is_lost_at_a_point_and_comes_back(bench: Bench, point: str) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    follower = bench.follow(thread)
    turn = bench.begin(thread, SCRIPT)
    freeze = Freeze()
    faults.call_at(point, freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)

    bench.lose(turn, other)
    bench.run(other) if point != "before_publish" else bench.sweep()
    rows, log = stored(bench.items(thread)), bench.events(thread)
    freeze.release()
    running.join()

    assert stored(bench.items(thread)) == rows
    assert bench.events(thread) == log
    assert order.check(log, lost=True).turns == order.check(follower.hear(), lost=True).turns == {turn.id: "completed"}
    assert bench.turn(turn).status == "completed"
    runs, told = POINTS[point]
    assert ran(bench) == runs
    assert told in outputs(bench)[0]
    assert len(outputs(bench)) == 1
    shown = bench.shown(thread)
    assert types(shown) == ["userMessage", "agentMessage", "commandExecution", "agentMessage"]
    assert {item["id"] for item in shown} <= set(order.check(log, lost=True).completed)
    assert bench.say(thread, "next").status == "completed"


def test_a_worker_that_wakes_up_too_late_begins_no_tool(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn, freeze = bench.begin(thread, SCRIPT), Freeze()
    faults.call_at("after_begun", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)
    bench.lose(turn, other)
    bench.run(other)
    begun: list[Tool] = []
    monkeypatch.setattr(loop, "run_tool", lambda tool, *_: begun.append(tool))

    freeze.release()
    running.join()

    assert begun == []
    assert bench.turn(turn).status == "completed"


@pytest.mark.parametrize(("point", "answers"), [("mid_answer", 3), ("before_end", 2)])
def test_nothing_is_said_twice_when_a_worker_is_lost_behind_what_it_stored(
    bench: Bench, point: str, answers: int
) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, SCRIPT)
    freeze = Freeze()
    faults.call_at(point, freeze)
    bench.start_run(lost)
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)
    lost.journal.stop(5)  # all that the turn handed over is stored and said; it says no more

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


def test_a_worker_that_is_lost_in_mid_command_runs_nothing_twice(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(server={"lease_seconds": 5.0, "renewal_seconds": 0.2, "authority_seconds": 4.0})
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, "[[run echo ran >> log; echo begins; sleep 60]][[say All done.]]")
    running = bench.start_run(lost)
    until(lambda: ran(bench))

    bench.lose(turn, other)
    running.join()  # its next renewal told it: the command is dead
    bench.run(other)

    order.check(bench.events(thread), lost=True)
    assert ran(bench) == 1
    assert "outcome is unknown" in outputs(bench)[0]
    assert bench.shown(thread)[1]["status"] == "failed"
    assert bench.turn(turn).status == "completed"


def test_a_command_that_went_on_behind_its_call_is_closed_and_the_model_is_told(bench: Bench) -> None:
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


def test_what_was_stored_and_never_said_is_said_first_by_the_next_attempt(bench: Bench) -> None:
    client = Unreliable(server=bench.redis_server)
    thread, lost, other = bench.thread(), bench.worker(lambda *_, **__: client), bench.worker()
    follower = bench.follow(thread)
    turn = bench.begin(thread, "[[pause p]][[say Look.]][[run echo ran >> log]][[say All done.]]")
    freeze = Freeze()
    faults.call_at("before_begun", freeze)
    running = bench.start_run(lost)
    bench.model.wait_reached("p")
    client.away = True
    bench.model.release("p")
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)

    bench.lose(turn, other)
    bench.run(other)
    freeze.release()
    running.join()
    client.away = False
    next_turn = bench.say(thread, "next")

    log = bench.events(thread)
    assert order.check(log, lost=True).turns == {turn.id: "completed", next_turn.id: "completed"}
    assert set(order.check(follower.hear(), lost=True).completed) == {item["id"] for item in bench.shown(thread)}


def test_a_pure_tool_is_run_again(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, '[[tool update_plan {"plan": [{"step": "Look", "status": "pending"}]}]]')
    freeze = Freeze()
    faults.call_at("after_begun", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)

    bench.lose(turn, other)
    bench.run(other)
    freeze.release()
    running.join()

    assert outputs(bench) == ["Plan updated"]


def test_an_attempt_of_the_same_process_is_fenced_from_the_one_before(bench: Bench) -> None:
    thread, worker = bench.thread(), bench.workers[0]
    turn = bench.begin(thread, SCRIPT)
    freeze = Freeze()
    faults.call_at("after_begun", freeze)
    running = bench.start_run(worker)
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)

    bench.lose(turn, worker)
    bench.run(worker)
    rows, log = stored(bench.items(thread)), bench.events(thread)
    freeze.release()
    running.join()

    assert stored(bench.items(thread)) == rows
    assert bench.events(thread) == log
    order.check(log, lost=True)
    assert "outcome is unknown" in outputs(bench)[0]


def test_a_turn_that_loses_every_worker_ends_with_an_error_that_says_so(bench: Bench) -> None:
    thread, other = bench.thread(), bench.worker()
    turn = bench.begin(thread, "[[say a]][[pause p]]")
    attempts = []
    for number in range(4):
        attempts.append(bench.start_run(bench.worker()))
        bench.model.wait_reached("p", count=number + 1)
        until(lambda: bench.shown(thread))  # what was stored before the first loss does not count
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
    assert bench.say(thread, "next").status == "completed"


def test_a_turn_that_gets_on_is_not_given_up(bench: Bench) -> None:
    thread, other = bench.thread(), bench.worker()
    turn = bench.begin(thread, "[[run true]][[run true]][[run true]][[run true]][[run true]][[say Done.]]")
    frozen = []
    for _ in range(5):
        freeze = Freeze()
        faults.call_at("before_ended", freeze)
        attempt = bench.start_run(bench.worker())
        assert freeze.reached.wait(20)
        frozen.append((freeze, attempt))
        bench.lose(turn, other)
    faults.call_at("", lambda: None)
    bench.run(other)
    for freeze, attempt in frozen:
        freeze.release()
        attempt.join()

    order.check(bench.events(thread), lost=True)
    assert bench.turn(turn).status == "completed"
    assert len(outputs(bench)) == 5


def test_a_stop_after_the_worker_was_lost_tells_the_truth_about_what_had_begun(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, "[[run echo ran >> log]]+[[run echo ran >> log]]")
    freeze = Freeze()
    faults.call_at("before_ended", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)

    bench.lose(turn, other)
    other.store.turns.interrupt(thread.id, thread.owner, turn.id)
    freeze.release()
    running.join()
    bench.sweep()
    bench.say(thread, "next")

    order.check(bench.events(thread), lost=True)
    assert "outcome is unknown" in outputs(bench)[0]
    assert "not run" in outputs(bench)[1]
    assert ran(bench) == 1


def test_an_end_that_was_stored_and_never_published_is_published_by_the_sweep(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, "hello")
    freeze = Freeze()
    faults.call_at("before_publish", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)
    with other.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE turns SET completed_at_ms = completed_at_ms - 6000")

    sweep.announce(other)

    log = bench.events(thread)
    assert order.check(log, lost=True).turns == {turn.id: "completed"}
    freeze.release()
    running.join()
    until(lambda: bench.turn(turn).announced == 2)
    assert bench.events(thread) == log
    sweep.announce(other)
    assert bench.events(thread) == log


def test_an_old_turn_that_is_announced_late_leaves_the_running_one_alone(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    first = bench.begin(thread, "hello")
    freeze = Freeze()
    faults.call_at("before_publish", freeze)
    running = bench.start_run(lost)
    assert freeze.reached.wait(20)
    faults.call_at("", lambda: None)
    second = bench.begin(thread, "[[say half]][[pause p]][[say whole]]")
    going = bench.start_run(other)
    bench.model.wait_reached("p")
    until(lambda: other.log.snapshot(thread.id).open_items)

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


def test_mail_that_came_while_nobody_held_the_turn_is_read(bench: Bench, tmp_path: Path) -> None:
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
