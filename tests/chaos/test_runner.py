"""A tool runner that stands still is killed and replaced, whatever the turn that uses it is doing."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.watched import UNKNOWN, WatchedTurn, check_next, watch
from tests.support import processes
from tests.support.deployment import STEADY, Deployment, Process
from tests.support.turns import command, is_delta
from tests.support.wait import until
from workers.sandbox import runner

END_SECONDS = 60.0
RUNNER = b"workers.runner.server"
LONG = command("echo 1 >> probe; echo working; sleep 300; echo 1.end >> probe") + "[[say end]]"
TWO = f"{command('echo 1 >> probe')}[[pause between]]{command('echo 2 >> probe')}[[say end]]"

on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def runner_of(worker: Process) -> int:
    """Return the pid of the runner that a worker started, once it has one."""
    until(lambda: len(runners_of(worker)) == 1)
    (pid,) = runners_of(worker)
    return pid


def runners_of(worker: Process) -> list[int]:
    found = []
    for child in children_of(worker.pid):
        with suppress(OSError):  # it has ended
            if RUNNER in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # a thread that has ended
            found += map(int, file.read_text().split())
    return found


def pause_during_command(turn: WatchedTurn, worker: Process) -> int:
    """Start a turn with a long command, and pause the runner while it runs. Return the runner's pid."""
    turn.start(LONG)
    turn.client.wait_for(lambda frame: is_delta(frame, "working"))
    paused = runner_of(worker)
    processes.pause(paused)
    return paused


def check_unknown(turn: WatchedTurn) -> None:
    """Assert that the turn went on, and that the model knows that the command's outcome is unknown."""
    assert turn.wait_for_end(END_SECONDS)["status"] == "completed"
    assert turn.probe() == ["1"]
    assert UNKNOWN in turn.outputs()[0]
    assert "working" in turn.outputs()[0]
    assert [item["status"] for item in turn.stored()["items"] if item["type"] == "commandExecution"] == ["failed"]


@on_sqlite
@pytest.mark.parametrize("after_a_command", [False, True])
def test_runner_that_stops_between_commands_is_replaced(
    deploy: Callable[..., Deployment], after_a_command: bool
) -> None:
    deployment = deploy(server=STEADY)
    (turn,) = watch(deployment, 1)
    paused = runner_of(deployment.workers[0])
    if not after_a_command:
        processes.pause(paused)
    turn.start(TWO)
    deployment.model.wait_reached("between", END_SECONDS)
    if after_a_command:
        processes.pause(paused)
    deployment.model.release("between")

    assert turn.wait_for_end(2 * END_SECONDS)["status"] == "completed"

    assert turn.probe() == ["1", "2"]
    assert runner_of(deployment.workers[0]) != paused


@on_sqlite
def test_command_of_a_runner_that_stops_has_an_unknown_outcome(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(server=STEADY)
    (turn,) = watch(deployment, 1)

    paused = pause_during_command(turn, deployment.workers[0])

    check_unknown(turn)
    check_next(turn)
    assert runner_of(deployment.workers[0]) != paused


@on_sqlite
def test_interrupt_ends_a_turn_whose_runner_has_stopped(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(server=STEADY)
    (turn,) = watch(deployment, 1)
    pause_during_command(turn, deployment.workers[0])

    turn.client.request("turn/interrupt", {"threadId": turn.thread_id, "turnId": turn.turn_id})

    assert turn.wait_for_end(END_SECONDS)["status"] == "interrupted"
    check_next(turn)


@on_sqlite
def test_worker_drains_although_its_runner_has_stopped(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(server=STEADY)
    (turn,) = watch(deployment, 1)
    (draining,) = deployment.workers
    pause_during_command(turn, draining)
    deployment.add_worker()

    assert draining.stop(END_SECONDS) == 0

    check_unknown(turn)


def test_runner_of_a_host_that_stops_is_killed_by_its_watcher() -> None:
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        path = Path(folder) / "runner.sock"
        words = runner.command_line({"socket": str(path), "worker": os.geteuid(), "group": None})
        with subprocess.Popen(words, env={}, cwd="/") as started:
            try:
                until(path.exists)
                until(lambda: children_of(started.pid))
                (watcher,) = children_of(started.pid)
                started.send_signal(signal.SIGSTOP)

                assert started.wait(END_SECONDS) == -signal.SIGKILL

                until(lambda: not Path(f"/proc/{watcher}").exists())
            finally:
                started.kill()
