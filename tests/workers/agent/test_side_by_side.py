"""Calls of one answer that run at the same time: commands do, every other tool waits for them and they for it."""

from __future__ import annotations

import json
import threading
from typing import Any

from shared.store.threads import Thread
from tests.support import order
from tests.support.wait import until
from tests.workers.agent.test_approvals import pending
from tests.workers.agent.test_stop_requests import interrupt
from tests.workers.agent.test_turn import inputs, outputs, types
from tests.workers.builders import DEADLINE_SECONDS, Bench, Freeze
from workers.agent import tool_calls
from workers.control import fault_points

FIVE = range(5)


def meet(number: int, of: int) -> str:
    """Return a call of a command that ends when this many commands have begun, and adds a line to `log`."""
    wait = f"until [ $(ls | grep -c '^begun') = {of} ]; do sleep 0.02; done"
    return f"[[run echo c{number} >> log; touch begun{number}; {wait}; echo output {number}]]"


def together(*calls: str) -> str:
    return "+".join(calls)


def log(bench: Bench) -> list[str]:
    return sorted((bench.cwd / "log").read_text().split())


def test_commands_run_at_the_same_time_and_their_outputs_keep_the_order_of_the_calls(bench: Bench) -> None:
    thread = bench.thread()

    turn = bench.run_turn(thread, together(*(meet(number, 5) for number in FIVE)))

    seen = order.check(bench.events(thread))
    assert turn.status == "completed"
    assert ["Process exited with code 0" in output for output in outputs(bench)] == [True] * 5
    assert [output.split()[-1] for output in outputs(bench)] == [str(number) for number in FIVE]
    calls = [item["call_id"] for item in inputs(bench) if item["type"] == "function_call"]
    assert calls == [item["call_id"] for item in inputs(bench) if item["type"] == "function_call_output"]
    shown = bench.shown(thread)[1:-1]
    assert [item["aggregatedOutput"].split()[-1] for item in shown] == [str(number) for number in FIVE]
    assert {item["status"] for item in shown} == {"completed"}
    assert set(seen.started) == set(seen.completed)


def test_more_commands_than_run_at_once_all_run(bench: Bench) -> None:
    thread = bench.thread()
    count = 2 * tool_calls.MAX_SIDE_BY_SIDE + 1

    bench.run_turn(thread, together(*(f"[[run echo c{number} >> log]]" for number in range(count))))

    order.check(bench.events(thread))
    assert log(bench) == sorted(f"c{number}" for number in range(count))
    assert len(outputs(bench)) == count


def shell_patch(old: str, new: str) -> str:
    patch = f"*** Begin Patch\n*** Update File: made\n@@\n-{old}\n+{new}\n*** End Patch"
    return f"[[tool exec_command {json.dumps({'cmd': f'apply_patch <<EOF{chr(10)}{patch}{chr(10)}EOF'})}]]"


def test_patches_in_shell_commands_wait_like_patches(bench: Bench) -> None:
    thread = bench.thread()
    make = "[[run until [ -e begun1 ]; do sleep 0.02; done; printf 'one\\n' > made]]"

    bench.run_turn(
        thread, together(make, "[[run touch begun1]]", shell_patch("one", "two"), shell_patch("two", "three"))
    )

    order.check(bench.events(thread))
    assert (bench.cwd / "made").read_text() == "three\n"
    shown = [item["type"] for item in bench.shown(thread)[1:-1]]
    assert shown == ["commandExecution", "commandExecution", "fileChange", "fileChange"]
    diffs = [params["diff"] for method, params in bench.events(thread) if method == "turn/diff/updated"]
    assert "-one\n+three\n" in diffs[-1]


def test_a_plan_and_a_patch_wait_for_the_commands_before_them(bench: Bench) -> None:
    thread = bench.thread()
    patch = "[[patch *** Begin Patch\n*** Update File: made\n@@\n-two\n+three\n*** End Patch]]"
    plan = '[[tool update_plan {"plan": [{"step": "a", "status": "completed"}]}]]'
    make = "[[run until [ -e begun1 ]; do sleep 0.02; done; printf 'two\\n' > made]]"

    bench.run_turn(thread, together(make, "[[run touch begun1]]", plan, patch, "[[run cat made]]"))

    events = bench.events(thread)
    order.check(events)
    assert outputs(bench)[-1].endswith("three\n")
    methods = [
        "plan" if method == "turn/plan/updated" else params["item"]["type"]
        for method, params in events
        if method in ("turn/plan/updated", "item/completed")
    ]
    assert methods[1:-1] == ["commandExecution", "commandExecution", "plan", "fileChange", "commandExecution"]


def test_people_are_asked_about_each_command_in_order_before_any_runs(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.begin(thread, together(meet(0, 2), meet(1, 2)))
    store = bench.workers[0].store

    asked = []
    for _ in range(2):
        bench.run()
        asked.append(pending(bench, thread).params["command"])
        assert not (bench.cwd / "log").exists()
        store.turns.answer(pending(bench, thread).id, thread.owner, {"decision": "accept"})
    bench.run()

    assert ["c0" in asked[0], "c1" in asked[1]] == [True, True]
    assert bench.turn(turn).status == "completed"
    assert log(bench) == ["c0", "c1"]
    assert ["Process exited with code 0" in output for output in outputs(bench)] == [True] * 2


def test_a_declined_command_does_not_hold_up_the_one_beside_it(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")
    bench.begin(thread, "[[run echo c0 >> log]]+[[run echo c1 >> log]]")
    for decision in ("decline", "accept"):
        bench.run()
        bench.workers[0].store.turns.answer(pending(bench, thread).id, thread.owner, {"decision": decision})
    bench.run()

    assert log(bench) == ["c1"]
    assert [item["status"] for item in bench.shown(thread)[1:-1]] == ["declined", "completed"]


def test_an_interrupt_ends_all_of_them_and_begins_no_more(bench: Bench) -> None:
    thread = bench.thread()
    count = tool_calls.MAX_SIDE_BY_SIDE
    turn = bench.begin(thread, together(*(meet(number, count + 1) for number in range(count + 1))))
    running = bench.start_run()
    until(lambda: len(list(bench.cwd.glob("begun*"))) == count)

    interrupt(bench, thread)
    running.join()

    bench.settle()
    order.check(bench.events(thread))
    assert bench.turn(turn).status == "interrupted"
    assert len(log(bench)) == count
    shown = [item for item in bench.shown(thread) if item["type"] == "commandExecution"]
    assert [item["status"] for item in shown] == ["failed"] * count


def test_commands_that_began_before_their_worker_was_lost_are_not_run_again(bench: Bench) -> None:
    thread, lost, other = bench.thread(), bench.workers[0], bench.worker()
    turn = bench.begin(thread, together(*(f"[[run echo c{number} >> log]]" for number in FIVE)))
    freeze = Freeze()
    reached = _at_the_third(freeze)
    fault_points.call_at("after_begun", reached)
    running = bench.start_run(lost)
    assert freeze.reached.wait(DEADLINE_SECONDS)
    fault_points.call_at("", lambda: None)
    until(lambda: len(_ended(bench, thread)) == 2)

    bench.lose(turn, other)
    bench.run(other)
    freeze.release()
    running.join()

    order.check(bench.events(thread), lost=True)
    assert bench.turn(turn).status == "completed"
    assert _times(bench) == {"c0": 1, "c1": 1, "c3": 1, "c4": 1}
    assert "outcome is unknown" in outputs(bench)[2]
    assert len(outputs(bench)) == 5
    assert types(bench.shown(thread))[1:-1] == ["commandExecution"] * 5


def _ended(bench: Bench, thread: Thread) -> list[dict[str, Any]]:
    return [item for item in bench.shown(thread) if item["type"] == "commandExecution"]


def _at_the_third(freeze: Freeze) -> Any:
    """Return what freezes the third thread that reaches a point."""
    reached = iter(range(10))
    lock = threading.Lock()

    def count() -> None:
        with lock:
            number = next(reached)
        if number == 2:
            freeze()

    return count


def _times(bench: Bench) -> dict[str, int]:
    lines = log(bench)
    return {line: lines.count(line) for line in lines}
