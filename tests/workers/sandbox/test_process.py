"""Process and command sessions: output, input, and how commands end."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ToolError
from tests.support.processes import is_running
from tests.support.wait import until
from workers.control.signal import Signal, StopReason
from workers.priority import AUTOGROUP
from workers.runner.launch import STEPS_BELOW
from workers.runner.processes import kill_orphaned_sandboxes
from workers.sandbox import process as process_module
from workers.sandbox.bubblewrap import find_bwrap
from workers.sandbox.channel import Channel
from workers.sandbox.command_input import MAX_UNREAD_INPUT_BYTES
from workers.sandbox.command_output import OutputStream
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import RUNNER_LOST, Process, run_to_end
from workers.sandbox.sessions import MAX_ENDED_SESSIONS, MAX_SESSIONS, CommandSession, CommandSessions

DEADLINE_S = 60


class Screen:
    """Collects a command's output, and waits for a text in it."""

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
SPEC_OPTIONS = {"tty", "rows_columns", "has_input", "separate_stderr", "env"}


@pytest.fixture
def start(tmp_path: Path, screen: Screen) -> Start:
    def start(line: str, *, limits: CommandLimits | None = None, **options: Any) -> Process:
        policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, tmp_path, hidden=[])
        of_spec = {name: options.pop(name) for name in SPEC_OPTIONS & options.keys()}
        argv = ["/bin/bash", "-c", line]
        spec = CommandSpec(argv=argv, cwd=tmp_path, policy=policy, limits=limits or CommandLimits(), **of_spec)
        return Process(spec, **{"on_output": screen, **options})

    return start


def test_output_and_errors_are_mixed_in_order_of_arrival(start: Start, screen: Screen) -> None:
    process = start("for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 3")

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 3
    assert process.stopped_by is None
    assert screen.text == process.output.text() == process.pop_unread().text()
    assert screen.text.split("\n")[:-1] == [f"{name} {i}" for i in (1, 2, 3) for name in ("out", "err")]


def test_command_without_authority_never_runs(start: Start, tmp_path: Path) -> None:
    process = start("echo ran > probe", authority=lambda: 0)

    assert process.wait(DEADLINE_S)
    assert process.exit_code != 0
    assert not (tmp_path / "probe").exists()


def test_separate_stderr_is_read_separately(start: Start) -> None:
    process = start("echo out; echo err >&2", separate_stderr=True)

    assert process.wait(DEADLINE_S)
    assert (process.output.text(), process.stderr.text()) == ("out\n", "err\n")


def test_invalid_bytes_are_replaced_and_characters_are_never_split(start: Start) -> None:
    process = start(r"printf 'a\0b\xffc\xe2'; read -t 0.05 < <(:); printf '\x82\xac\xe2'")

    assert process.wait(DEADLINE_S)
    assert process.output.text() == "a\ufffdb\ufffdc€\ufffd"


def test_pieces_of_long_output_make_up_the_kept_text(start: Start, screen: Screen) -> None:
    process = start("seq 100000", limits=CommandLimits(output_bytes=2000))

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 0
    assert screen.text == process.output.text()
    assert screen.text.startswith("1\n2\n3\n")
    assert screen.text.endswith("\n100000\n")
    assert process.output.total_bytes == 588_895


@pytest.mark.parametrize(("size_bytes", "least_s", "most_s"), [(200 << 20, 0, 0.1), (4 << 30, 30, 60)])
def test_large_output_does_not_hold_a_command_back_and_endless_output_does(
    size_bytes: int, least_s: float, most_s: float
) -> None:
    read_end, write_end = os.pipe()
    stream = OutputStream(read_end, max_bytes=2)
    piece = 1 << 16

    pauses_s = sum(stream.pause_after(piece) for _ in range(size_bytes // piece))

    os.close(read_end)
    os.close(write_end)
    assert least_s <= pauses_s <= most_s


@pytest.mark.parametrize("tty", [False, True])
def test_command_inherits_only_input_and_output_descriptors(start: Start, tty: bool) -> None:
    process = start("readlink /proc/self/fd/0; echo $(ls /proc/self/fd)", tty=tty)

    assert process.wait(DEADLINE_S)
    given, descriptors = process.output.text().split("\n", 1)
    assert given.startswith("/dev/pts/" if tty else "/dev/null")
    assert descriptors.split() == ["0", "1", "2", "3"]  # the last is ls's own


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel has no autogroups")
@pytest.mark.parametrize("tty", [False, True])
def test_a_command_gives_way_to_the_worker(start: Start, tty: bool) -> None:
    def niceness() -> int:
        process = start("cat /proc/self/autogroup", tty=tty)
        assert process.wait(DEADLINE_S)
        return int(process.output.text().split()[-1])

    # Not always: other tests start commands, too, and the kernel takes ten such changes in a second.
    until(lambda: niceness() == min(19, os.getpriority(os.PRIO_PROCESS, 0) + STEPS_BELOW))


def test_exit_code_shows_the_signal_that_ended_a_command(start: Start) -> None:
    process = start("kill -SEGV $$")

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 128 + 11


def test_term_reaches_every_process_of_the_command(start: Start, screen: Screen) -> None:
    loop = "echo up; while :; do sleep 0.02; done"
    inner = shlex.quote(f"trap 'echo tidied inner; exit' TERM; {loop}")
    process = start(f"setsid bash -c {inner} & trap 'echo tidied outer; wait; exit 4' TERM; {loop}")
    screen.wait_for("up\nup\n")

    process.terminate("interrupt", grace_s=DEADLINE_S)

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 4
    assert process.stopped_by == "interrupt"
    assert "tidied inner" in screen.text
    assert "tidied outer" in screen.text


def test_process_that_ignores_term_is_killed(start: Start, screen: Screen) -> None:
    process = start("trap '' TERM; echo up; while :; do sleep 60; done")
    screen.wait_for("up")

    process.terminate("interrupt", grace_s=0.2)

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 137


def test_command_ends_at_its_time_limit(start: Start) -> None:
    process = start("sleep 60", limits=CommandLimits(wall_seconds=0.1))

    assert process.wait(DEADLINE_S)
    assert process.stopped_by == "time limit"


def test_stopping_a_starting_command_leaves_nothing_behind(start: Start) -> None:
    seconds = f"9{random.randrange(10**8)}"
    processes = [start(f"sleep {seconds}") for _ in range(10)]
    for process in processes:
        process.terminate("interrupt", grace_s=10 * DEADLINE_S)  # no TERM may be lost: nothing would be killed in time

    assert all(process.wait(DEADLINE_S) for process in processes)
    until(lambda: not is_running(seconds))


def test_orphaned_sandboxes_are_killed_and_running_ones_are_not(start: Start, screen: Screen) -> None:
    process = start("echo up; read", tty=True)
    screen.wait_for("up")
    mark = f"mark{random.randrange(10**8)}"
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for size in (1000, 1):  # to the last byte, or bwrap's report would still fit
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(size))
    os.set_blocking(writer, True)  # so that bwrap blocks when it reports what it made
    words = ["--info-fd", str(writer), "--unshare-pid", "--die-with-parent", "--ro-bind", "/", "/", "true", mark]
    with subprocess.Popen([find_bwrap(), *words], pass_fds=[writer], start_new_session=True) as outer:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        until(lambda: children.read_text() or outer.poll() is not None)
        assert outer.returncode is None, "bwrap ended by itself"
        outer.kill()
    os.close(reader)
    os.close(writer)

    kill_orphaned_sandboxes()

    until(lambda: not is_running(mark))
    process.write(b"\n")
    assert process.wait(DEADLINE_S)
    assert process.stopped_by is None


def test_stopping_an_ended_command_has_no_effect(start: Start) -> None:
    process = start("exit 5")
    assert process.wait(DEADLINE_S)
    process.terminate("interrupt")

    assert start("exit 6").wait(DEADLINE_S)
    assert (process.exit_code, process.stopped_by) == (5, None)


@pytest.mark.parametrize(
    ("why", "stopped_by"),
    [(StopReason.INTERRUPT, "interrupt"), (StopReason.REVOKED, "loss of the turn"), (StopReason.DRAIN, "shutdown")],
)
def test_stop_request_of_the_turn_ends_its_command(
    start: Start, screen: Screen, why: StopReason, stopped_by: str
) -> None:
    process = start("echo up; sleep 60")
    signal = Signal()
    screen.wait_for("up")
    caller = threading.Thread(target=signal.request, args=[why])
    caller.start()

    assert process.wait_or_stop(signal, DEADLINE_S, drain_s=0.1)

    caller.join()
    assert process.stopped_by == stopped_by


def test_command_may_end_by_itself_while_the_worker_drains(start: Start) -> None:
    signal = Signal()
    signal.request(StopReason.DRAIN)
    process = start("sleep 0.1; echo done")

    assert process.wait_or_stop(signal, 0, drain_s=DEADLINE_S)
    assert (process.exit_code, process.stopped_by) == (0, None)


def test_steering_does_not_stop_a_command(start: Start) -> None:
    signal = Signal()
    signal.request(StopReason.STEER)
    process = start("sleep 60")

    assert not process.wait_or_stop(signal, 0.05)

    process.terminate("interrupt")
    assert process.wait(DEADLINE_S)


def test_terminal_accepts_input_and_control_c(start: Start, screen: Screen) -> None:
    loop = "while :; do sleep 0.02; done"
    process = start(f"trap 'echo int; exit 4' INT; test -t 0 && stty size; read a; echo got $a; {loop}", tty=True)
    screen.wait_for("24 120")
    process.write(b"word\n")
    screen.wait_for("got word")
    process.write(b"\x03")

    assert process.wait(DEADLINE_S)
    assert (process.exit_code, process.stopped_by) == (4, None)
    assert "int" in screen.text


def test_terminal_changes_its_size(start: Start, screen: Screen) -> None:
    process = start("stty size; read a; stty size", tty=True)
    screen.wait_for("24 120")

    process.resize(30, 100)
    process.write(b"go\n")

    screen.wait_for("30 100")
    assert process.wait(DEADLINE_S)


def test_command_without_a_terminal_has_no_size_to_change(start: Start) -> None:
    process = start("read a; echo $a", has_input=True)

    process.resize(30, 100)
    process.write(b"word\n")

    assert process.wait(DEADLINE_S)
    assert process.output.text() == "word\n"


def test_input_that_ends_after_all_is_read_ends_the_command(start: Start, screen: Screen) -> None:
    process = start("cat; echo done", has_input=True)
    process.write(b"typed ")
    until(lambda: screen.text == "typed ")

    process.end_input()

    assert process.wait(DEADLINE_S)
    assert screen.text == "typed done\n"


def test_unread_input_is_kept_up_to_a_limit(start: Start, screen: Screen) -> None:
    process = start("stty -echo raw; echo up; head -c 100000 | wc -c; read", tty=True)
    screen.wait_for("up")
    process.write(b"x" * 100_000)
    screen.wait_for("100000")

    with pytest.raises(ToolError, match="does not read"):
        process.write(b"y" * (MAX_UNREAD_INPUT_BYTES + 1))
    process.terminate("interrupt", grace_s=0.1)
    assert process.wait(DEADLINE_S)


def test_command_that_cannot_be_started_raises_tool_error(start: Start) -> None:
    with pytest.raises(ToolError, match="cannot start the command"):
        start("x" * 200_000)


def test_failing_output_callback_does_not_stop_the_command(start: Start) -> None:
    def fails(text: str) -> None:
        raise ValueError(text)

    process = start("echo a; sleep 0.05; echo b", on_output=fails)

    assert process.wait(DEADLINE_S)
    assert process.output.text() == "a\nb\n"


def test_many_commands_share_one_thread_and_leave_nothing_behind(tmp_path: Path) -> None:
    policy = SandboxPolicy.from_wire({"type": "readOnly"}, tmp_path, hidden=[])

    def run(number: int) -> str:
        line = ["/bin/sh", "-c", f"echo {number}"]
        return run_to_end(
            CommandSpec(argv=line, cwd=tmp_path, policy=policy, limits=CommandLimits(), separate_stderr=True)
        ).output.text()

    run(0)
    before = children() | open_files()
    threads = set(threading.enumerate())
    with ThreadPoolExecutor(20) as pool:
        outputs = list(pool.map(run, range(60)))

    assert outputs == [f"{number}\n" for number in range(60)]
    # What earlier tests of this process left may end meanwhile, so counts would prove nothing.
    until(lambda: set(threading.enumerate()) <= threads)
    until(lambda: children() | open_files() <= before)


def open_files() -> set[str]:
    """Return the open descriptors of this process, each with its file, because numbers are reused."""
    found = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            found.add(f"{descriptor.name} {descriptor.readlink()}")
    return found


def children() -> set[str]:
    """Return the pids of this process's children."""
    found: set[str] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has ended
            found.update(file.read_text().split())
    return found


def test_sessions_are_found_by_number_ended_once_and_closed(tmp_path: Path) -> None:
    policy = SandboxPolicy.from_wire({"type": "readOnly"}, tmp_path, hidden=[])
    sessions = CommandSessions()

    def start(item_id: str, line: str) -> Any:
        item = {"type": "commandExecution", "command": line}
        argv = ["/bin/sh", "-c", line]
        number = {"a": 1, "b": 2}[item_id]
        return sessions.start(argv, session_id=number, cwd=tmp_path, policy=policy, item_id=item_id, item=item)

    short = start("a", "echo bye; exit 3")
    long = start("b", "echo unread; sleep 60")
    assert short.process.wait(DEADLINE_S)

    assert sessions.find(long.id) is long
    reaped = sessions.pop_ended()
    assert [(ended.item_id, ended.item["status"], ended.item["exitCode"]) for ended in reaped] == [("a", "failed", 3)]
    assert sessions.pop_ended() == []
    assert sessions.find(short.id) is short

    until(lambda: long.process.output.total_bytes > 0)
    closed = sessions.close_all("shutdown")
    assert [ended.item_id for ended in closed] == ["b"]
    assert "stopped by shutdown after" in closed[0].summary
    assert closed[0].summary.endswith("Output:\nunread\n")
    assert closed[0].item["aggregatedOutput"] == "unread\n"
    assert closed[0].item["processId"] == str(long.id)
    assert sessions.find(long.id) is None


def test_ended_sessions_that_the_model_does_not_read_are_forgotten(tmp_path: Path) -> None:
    policy = SandboxPolicy.from_wire({"type": "readOnly"}, tmp_path, hidden=[])
    sessions = CommandSessions()

    def run(item_id: str) -> CommandSession:
        item: Any = {"type": "commandExecution", "command": "true"}
        session = sessions.start(
            ["/bin/true"], session_id=int(item_id), cwd=tmp_path, policy=policy, item_id=item_id, item=item
        )
        assert session.process.wait(DEADLINE_S)
        assert [ended.item_id for ended in sessions.pop_ended()] == [item_id]
        return session

    started = [run(str(number)) for number in range(MAX_ENDED_SESSIONS + 2)]

    assert sessions.find(started[0].id) is None
    assert sessions.find(started[-1].id) is started[-1]
    assert sessions.find(started[1].id) is started[1]


def test_number_of_sessions_of_a_turn_is_limited(tmp_path: Path) -> None:
    policy = SandboxPolicy.from_wire({"type": "readOnly"}, tmp_path, hidden=[])
    sessions = CommandSessions()

    def start(number: int) -> None:
        item: Any = {"command": "sleep"}
        argv = ["/bin/sleep", "60"]
        sessions.start(argv, session_id=number, cwd=tmp_path, policy=policy, item_id=str(number), item=item)

    for number in range(MAX_SESSIONS):
        start(number)
    with pytest.raises(ToolError, match="running already"):
        start(MAX_SESSIONS)

    assert len(sessions.close_all("interrupt")) == MAX_SESSIONS


def test_an_end_that_says_too_little_counts_as_a_lost_runner(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start("sleep 60")
    monkeypatch.setattr(process._channel, "receive", lambda: ({"status": 0}, []))

    process.terminate("request")

    assert process.wait(DEADLINE_S)
    assert process.stopped_by == RUNNER_LOST


def test_the_end_that_an_older_runner_reports_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    guard, _guard_end = socket.socketpair()
    read_end, write_end = os.pipe()
    monkeypatch.setattr(process_module, "_start", lambda spec: (Channel(ours), [guard.detach(), read_end], False))
    policy = SandboxPolicy(kind="read-only", cwd=tmp_path)

    command = Process(CommandSpec(argv=["true"], cwd=tmp_path, policy=policy, limits=CommandLimits()))
    os.close(write_end)
    Channel(theirs).send({"status": 3, "stopped": None})

    assert command.wait(DEADLINE_S)
    assert command.exit_code == 3
