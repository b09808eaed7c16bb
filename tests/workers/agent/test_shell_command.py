"""Commands that the user types: run once, in a turn of their own or in the running one; the model reads them later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from shared.config import ShellEnvironment
from shared.events import turn_signals
from shared.protocol.user_input import SHELL_COMMAND
from shared.store.threads import Thread
from shared.store.turns import NewTurn, Turn
from tests.support import order
from tests.workers.agent.test_stop_requests import WAITS, interrupt, wait_for_file
from tests.workers.agent.test_turn import texts, types
from tests.workers.builders import Bench
from workers.control import fault_points


def begin_command(bench: Bench, thread: Thread, line: str, timeout_ms: int | None = None) -> Turn:
    part = {"type": SHELL_COMMAND, "command": line, "timeoutMs": timeout_ms}
    new = NewTurn([part], None, {}, {"kind": "shell"})
    turn, is_new = bench.workers[0].store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)
    if not is_new:
        turn_signals.publish(bench.connect(), turn_signals.STEER, turn.id)
    return turn


def run_command(bench: Bench, thread: Thread, line: str, timeout_ms: int | None = None) -> Turn:
    turn = begin_command(bench, thread, line, timeout_ms)
    bench.run()
    return bench.turn(turn)


def commands(bench: Bench, thread: Thread) -> list[dict[str, Any]]:
    return [item for item in bench.shown(thread) if item["type"] == "commandExecution"]


def test_command_on_an_idle_thread_is_a_turn_without_the_model(bench: Bench) -> None:
    thread = bench.thread(approvalPolicy="untrusted")

    turn = run_command(bench, thread, "echo one | tr o O; exit 3")

    order.check(bench.events(thread))
    assert turn.status == "completed"
    (item,) = bench.shown(thread)
    assert (item["type"], item["source"], item["status"]) == ("commandExecution", "userShell", "failed")
    assert item["aggregatedOutput"].endswith("One\n")  # a login shell may print something first
    assert (item["exitCode"], item["cwd"]) == (3, str(bench.cwd))
    assert bench.model.requests == []


def test_model_reads_the_command_with_the_next_message(bench: Bench) -> None:
    thread = bench.thread()
    run_command(bench, thread, "echo out")

    bench.run_turn(thread, "what came out?")

    (recorded,) = [text for text in texts(bench, "user") if text.startswith("<user_shell_command>")]
    assert "<command>\necho out\n</command>" in recorded
    assert "Process exited with code 0" in recorded
    assert texts(bench, "user")[-1] == "what came out?"


def test_command_runs_inside_the_sandbox(bench: Bench) -> None:
    thread = bench.thread(sandboxPolicy={"type": "readOnly"})

    run_command(bench, thread, "touch made || echo refused")

    assert commands(bench, thread)[0]["aggregatedOutput"].endswith("refused\n")
    assert not (bench.cwd / "made").exists()


def test_command_joins_a_running_turn_and_the_model_continues(bench: Bench) -> None:
    thread = bench.thread()
    turn = bench.begin(thread, "[[say half]][[pause p]][[say whole]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    assert begin_command(bench, thread, "echo mine").id == turn.id
    bench.model.wait_hung_up("p")
    bench.model.release("p")
    running.join()

    bench.settle()
    seen = order.check(bench.events(thread))
    assert seen.turns == {turn.id: "completed"}
    assert types(bench.shown(thread)) == ["userMessage", "commandExecution", "agentMessage"]
    assert any("echo mine" in text for text in texts(bench, "user"))


def test_command_during_the_last_answer_needs_no_further_answer(bench: Bench) -> None:
    thread = bench.thread()
    bench.begin(thread, "[[say one]][[pause p]]")
    running = bench.start_run()
    bench.model.wait_reached("p")

    new = NewTurn([{"type": SHELL_COMMAND, "command": "echo late"}], None, {}, {"kind": "shell"})
    bench.workers[0].store.turns.create_or_steer(thread.id, thread.owner, new, queued_limit=0)  # without a signal
    bench.model.release("p")
    running.join()

    bench.settle()
    order.check(bench.events(thread))
    assert types(bench.shown(thread)) == ["userMessage", "agentMessage", "commandExecution"]
    assert len(bench.model.requests) == 1


def test_message_during_a_command_is_answered_after_it(bench: Bench) -> None:
    thread = bench.thread()
    turn = begin_command(bench, thread, WAITS)
    running = bench.start_run()
    wait_for_file(bench.cwd / "started")

    assert bench.begin(thread, "and?").id == turn.id
    (bench.cwd / "go").touch()
    running.join()

    bench.settle()
    order.check(bench.events(thread))
    assert types(bench.shown(thread)) == ["commandExecution", "userMessage", "agentMessage"]


def test_interrupt_ends_the_command(bench: Bench) -> None:
    thread = bench.thread()
    turn = begin_command(bench, thread, "touch started; sleep 60")
    running = bench.start_run()
    wait_for_file(bench.cwd / "started")

    interrupt(bench, thread)
    running.join()

    bench.settle()
    order.check(bench.events(thread))
    assert bench.turn(turn).status == "interrupted"
    assert commands(bench, thread)[0]["status"] == "failed"


def test_command_interrupted_before_a_worker_claimed_it_is_reported_as_not_run(bench: Bench) -> None:
    thread = bench.thread()
    begin_command(bench, thread, "echo never >> log")
    interrupt(bench, thread)
    bench.sweep()

    bench.run_turn(thread, "go on")

    assert any("It was not run." in text for text in texts(bench, "user"))
    assert not (bench.cwd / "log").exists()


def test_timeout_ends_the_command(bench: Bench) -> None:
    thread = bench.thread()

    turn = run_command(bench, thread, "sleep 60", timeout_ms=50)

    assert turn.status == "completed"
    assert commands(bench, thread)[0]["status"] == "failed"
    bench.run_turn(thread, "and?")
    assert any("time limit" in text for text in texts(bench, "user"))


@pytest.mark.parametrize(("point", "runs"), [("after_claim", 1), ("after_begun", 0), ("before_ended", 1)])
def test_lost_worker_never_runs_the_command_twice(bench: Bench, point: str, runs: int) -> None:
    thread = bench.thread()
    second = bench.worker()
    turn = begin_command(bench, thread, "echo ran >> log")
    died = {"yet": False}

    def die() -> None:
        if not died["yet"]:
            died["yet"] = True
            raise SystemExit

    fault_points.call_at(point, die)
    with pytest.raises(SystemExit):
        bench.start_run().join()
    bench.lose(turn, second)
    bench.run(second)

    order.check(bench.events(thread))
    assert bench.turn(turn).status == "completed"
    log = bench.cwd / "log"
    assert (log.read_text().count("ran") if log.exists() else 0) == runs
    assert commands(bench, thread)[0]["status"] == ("completed" if point == "after_claim" else "failed")


def test_commands_of_users_and_models_have_the_variables_of_server_and_thread(open_bench: Callable[..., Bench]) -> None:
    configured = ShellEnvironment(set={"A": "server", "B": "server"})
    bench = open_bench(shell_environment_policy=configured, allow_login_shell=False)
    thread = bench.thread(shellEnvironmentPolicy={"set": {"B": "thread"}, "exclude": ["HOME"]})
    line = "echo $A $B ${HOME-none}; shopt -q login_shell; echo login $?"

    run_command(bench, thread, line)
    bench.run_turn(thread, f"[[run {line}]]")

    shown = [item["aggregatedOutput"] for item in commands(bench, thread)]
    assert shown == ["server thread none\nlogin 1\n"] * 2
