"""Commands: what they say, and how they end."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ToolError
from tests.support.processes import is_running
from tests.support.wait import until
from workers.agent.signal import Signal, Why
from workers.runner.command import bury_leftovers
from workers.sandbox.bubblewrap import find_bwrap
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import MAX_UNREAD_INPUT_BYTES, Process, run_to_end
from workers.sandbox.sessions import MAX_SESSIONS, Sessions

DEADLINE_S = 20


class Screen:
    """What a command said so far; waits for a text in it."""

    def __init__(self) -> None:
        self.text = ""
        self._changed = threading.Condition()

    def __call__(self, text: str) -> None:
        with self._changed:
            self.text += text
            self._changed.notify_all()

    def wait_for(self, text: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text, DEADLINE_S), self.text


@pytest.fixture
def screen() -> Screen:
    return Screen()


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path, screen: Screen) -> Start:
    def start(line: str, **options: Any) -> Process:
        policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, tmp_path, hidden=[])
        options = {"limits": CommandLimits(), "on_output": screen, **options}
        return Process(["/bin/bash", "-c", line], cwd=tmp_path, policy=policy, **options)

    return start


def test_output_and_errors_come_mixed_in_the_order_of_arrival(start: Start, screen: Screen) -> None:
    process = start("for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 3")

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 3
    assert process.stopped_by is None
    assert screen.text == process.output.text() == process.take().text()
    assert screen.text.split("\n")[:-1] == [f"{name} {i}" for i in (1, 2, 3) for name in ("out", "err")]


def test_a_command_that_may_not_begin_any_more_when_all_else_is_there_never_runs(start: Start, tmp_path: Path) -> None:
    process = start("echo ran > probe", may_begin=lambda: False)

    assert process.wait(DEADLINE_S)
    assert process.exit_code != 0
    assert not (tmp_path / "probe").exists()


def test_errors_come_apart_where_that_is_asked_for(start: Start) -> None:
    process = start("echo out; echo err >&2", stderr_apart=True)

    assert process.wait(DEADLINE_S)
    assert (process.output.text(), process.errors.text()) == ("out\n", "err\n")


def test_bytes_that_are_no_text_are_replaced_and_characters_are_not_torn(start: Start) -> None:
    process = start(r"printf 'a\0b\xffc\xe2'; read -t 0.05 < <(:); printf '\x82\xac\xe2'")

    assert process.wait(DEADLINE_S)
    assert process.output.text() == "a\ufffdb\ufffdc€\ufffd"


def test_pieces_of_too_much_output_are_together_what_is_kept(start: Start, screen: Screen) -> None:
    process = start("seq 100000", limits=CommandLimits(output_bytes=2000))

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 0
    assert screen.text == process.output.text()
    assert screen.text.startswith("1\n2\n3\n")
    assert screen.text.endswith("\n100000\n")
    assert process.output.total_bytes == 588_895


@pytest.mark.parametrize("tty", [False, True])
def test_a_command_is_given_no_descriptors_but_its_input_and_output(start: Start, tty: bool) -> None:
    process = start("readlink /proc/self/fd/0; echo $(ls /proc/self/fd)", tty=tty)

    assert process.wait(DEADLINE_S)
    given, descriptors = process.output.text().split("\n", 1)
    assert given.startswith("/dev/pts/" if tty else "/dev/null")
    assert descriptors.split() == ["0", "1", "2", "3"]  # the last is ls's own


def test_a_signal_that_ended_a_command_shows_in_its_exit_code(start: Start) -> None:
    process = start("kill -SEGV $$")

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 128 + 11


def test_term_reaches_every_process_of_the_tree_so_that_it_can_tidy_up(start: Start, screen: Screen) -> None:
    loop = "echo up; while :; do sleep 0.02; done"
    inner = shlex.quote(f"trap 'echo tidied inner; exit' TERM; {loop}")
    process = start(f"setsid bash -c {inner} & trap 'echo tidied outer; wait; exit 4' TERM; {loop}")
    screen.wait_for("up\nup\n")

    process.terminate("interrupt")

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 4
    assert process.stopped_by == "interrupt"
    assert "tidied inner" in screen.text
    assert "tidied outer" in screen.text


def test_what_does_not_heed_term_is_killed(start: Start, screen: Screen) -> None:
    process = start("trap '' TERM; echo up; while :; do sleep 60; done")
    screen.wait_for("up")

    process.terminate("interrupt", grace_s=0.2)

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 137


def test_a_command_ends_at_its_time_limit(start: Start) -> None:
    process = start("sleep 60", limits=CommandLimits(wall_seconds=0.1))

    assert process.wait(DEADLINE_S)
    assert process.stopped_by == "time limit"


def test_stopping_what_is_being_started_leaves_nothing_behind(start: Start) -> None:
    seconds = f"9{random.randrange(10**8)}"
    processes = [start(f"sleep {seconds}") for _ in range(10)]
    for process in processes:
        process.terminate("interrupt")

    assert all(process.wait(DEADLINE_S) for process in processes)
    assert all(process.duration_s < 1.5 for process in processes)
    assert not is_running(seconds)


def test_what_a_killed_worker_left_half_made_is_buried_and_what_others_run_is_not(start: Start, screen: Screen) -> None:
    process = start("echo up; read", tty=True)
    screen.wait_for("up")
    mark = f"mark{random.randrange(10**8)}"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(1000))
    os.set_blocking(writer, True)  # so that bwrap stops when it tells what it made
    words = ["--info-fd", str(writer), "--unshare-pid", "--die-with-parent", "--ro-bind", "/", "/", "true", mark]
    with subprocess.Popen([find_bwrap(), *words], pass_fds=[writer], start_new_session=True) as outer:
        while not Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text():
            pass
        outer.kill()
    os.close(reader)
    os.close(writer)

    bury_leftovers()

    deadline = time.monotonic() + DEADLINE_S
    while is_running(mark):
        assert time.monotonic() < deadline
    process.write(b"\n")
    assert process.wait(DEADLINE_S)
    assert process.stopped_by is None


def test_stopping_what_has_ended_does_no_harm(start: Start) -> None:
    process = start("exit 5")
    assert process.wait(DEADLINE_S)
    process.terminate("interrupt")

    assert start("exit 6").wait(DEADLINE_S)
    assert (process.exit_code, process.stopped_by) == (5, None)


@pytest.mark.parametrize(
    ("why", "stopped_by"), [(Why.INTERRUPT, "interrupt"), (Why.LOST, "loss of the turn"), (Why.DRAIN, "shutdown")]
)
def test_a_call_of_the_turn_ends_its_command(start: Start, screen: Screen, why: Why, stopped_by: str) -> None:
    process = start("echo up; sleep 60")
    signal = Signal()
    screen.wait_for("up")
    caller = threading.Thread(target=signal.call, args=[why])
    caller.start()

    assert process.attend(signal, DEADLINE_S, drain_s=0.1)

    caller.join()
    assert process.stopped_by == stopped_by


def test_a_command_may_end_by_itself_when_the_worker_shuts_down(start: Start) -> None:
    signal = Signal()
    signal.call(Why.DRAIN)
    process = start("sleep 0.1; echo done")

    assert process.attend(signal, 0)
    assert (process.exit_code, process.stopped_by) == (0, None)


def test_steering_leaves_a_command_alone(start: Start) -> None:
    signal = Signal()
    signal.call(Why.STEER)
    process = start("sleep 60")

    assert not process.attend(signal, 0.05)

    process.terminate("interrupt")
    assert process.wait(DEADLINE_S)


def test_a_terminal_takes_input_and_control_c(start: Start, screen: Screen) -> None:
    loop = "while :; do sleep 0.02; done"
    process = start(f"trap 'echo int; exit 4' INT; test -t 0 && stty size; read a; echo got $a; {loop}", tty=True)
    screen.wait_for("24 120")
    process.write(b"word\n")
    screen.wait_for("got word")
    process.write(b"\x03")

    assert process.wait(DEADLINE_S)
    assert (process.exit_code, process.stopped_by) == (4, None)
    assert "int" in screen.text


def test_more_input_than_the_command_reads_is_kept_for_it_up_to_a_bound(start: Start, screen: Screen) -> None:
    process = start("stty -echo raw; echo up; head -c 100000 | wc -c; read", tty=True)
    screen.wait_for("up")
    process.write(b"x" * 100_000)
    screen.wait_for("100000")

    with pytest.raises(ToolError, match="does not read"):
        process.write(b"y" * (MAX_UNREAD_INPUT_BYTES + 1))
    process.terminate("interrupt", grace_s=0.1)
    assert process.wait(DEADLINE_S)


def test_a_command_that_cannot_be_started_is_told_so(start: Start) -> None:
    with pytest.raises(ToolError, match="cannot start the command"):
        start("x" * 200_000)


def test_a_listener_that_fails_does_not_stop_the_command(start: Start) -> None:
    def fails(text: str) -> None:
        raise ValueError(text)

    process = start("echo a; sleep 0.05; echo b", on_output=fails)

    assert process.wait(DEADLINE_S)
    assert process.output.text() == "a\nb\n"


def test_many_commands_at_once_share_one_thread_and_leave_nothing_behind(tmp_path: Path) -> None:
    policy = SandboxPolicy.from_wire({"type": "readOnly"}, tmp_path, hidden=[])

    def run(number: int) -> str:
        line = ["/bin/sh", "-c", f"echo {number}"]
        return run_to_end(line, cwd=tmp_path, policy=policy, limits=CommandLimits()).output.text()

    run(0)
    before = children()
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    with ThreadPoolExecutor(20) as pool:
        said = list(pool.map(run, range(60)))

    assert said == [f"{number}\n" for number in range(60)]
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert children() <= before


def children() -> set[str]:
    """Pids of this process's children."""
    files = Path("/proc/self/task").glob("*/children")
    return set("".join(file.read_text() for file in files).split())


def test_sessions_are_found_by_number_reaped_once_and_closed(tmp_path: Path) -> None:
    policy = SandboxPolicy.from_wire({"type": "readOnly"}, tmp_path, hidden=[])
    sessions = Sessions()

    def start(item_id: str, line: str) -> Any:
        item = {"type": "commandExecution", "command": line}
        argv = ["/bin/sh", "-c", line]
        return sessions.start(argv, cwd=tmp_path, policy=policy, item_id=item_id, item=item)

    short = start("a", "echo bye; exit 3")
    long = start("b", "echo unread; sleep 60")
    assert short.process.wait(DEADLINE_S)

    assert sessions.get(long.id) is long
    reaped = sessions.reap()
    assert [(one.item_id, one.item["status"], one.item["exitCode"]) for one in reaped] == [("a", "failed", 3)]
    assert sessions.reap() == []
    assert sessions.get(short.id) is short

    until(lambda: long.process.output.total_bytes > 0)
    closed = sessions.close_all("shutdown")
    assert [one.item_id for one in closed] == ["b"]
    assert "stopped by shutdown after" in closed[0].told
    assert closed[0].told.endswith("Output:\nunread\n")
    assert closed[0].item["aggregatedOutput"] == "unread\n"
    assert closed[0].item["processId"] == str(long.id)
    with pytest.raises(ToolError, match="no session"):
        sessions.get(long.id)


def test_a_turn_has_only_so_many_sessions(tmp_path: Path) -> None:
    policy = SandboxPolicy.from_wire({"type": "readOnly"}, tmp_path, hidden=[])
    sessions = Sessions()

    def start() -> None:
        item = {"command": "sleep"}
        sessions.start(["/bin/sleep", "60"], cwd=tmp_path, policy=policy, item_id="a", item=item)

    for _ in range(MAX_SESSIONS):
        start()
    with pytest.raises(ToolError, match="running already"):
        start()

    assert len(sessions.close_all("interrupt")) == MAX_SESSIONS
