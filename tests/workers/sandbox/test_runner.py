"""The tool runner: how it is lost, restarted, run as another user, and protected from other processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.errors import SandboxUnavailable, ToolError
from tests.support import processes
from tests.support.unprivileged import unprivileged
from tests.support.wait import until
from tests.workers.builders import start as in_thread
from workers.runner.server import Server
from workers.sandbox import files, runner
from workers.sandbox import process as process_module
from workers.sandbox.channel import Channel
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.messages import HEARTBEAT
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process, run_to_end

DEADLINE_S = 60


# A worker that waits for a command, and writes why that ended.
UNLEASED = """
import os, pathlib, sys
from workers.sandbox import runner
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import run_to_end
runner.configure(pathlib.Path(sys.argv[1]), authority_s=4)
here = pathlib.Path.cwd()
policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, here, hidden=[])
argv = ["/bin/sh", "-c", "echo up > log; exec sleep " + os.environ["SLEEP"]]
ended = run_to_end(CommandSpec(argv=argv, cwd=here, policy=policy, limits=CommandLimits()))
(here / "end").write_text(str(ended.stopped_by))
"""


@contextmanager
def host_runner(path: Path, *, worker: int | None = None, user: tuple[str, ...] = ()) -> Iterator[int]:
    """Run a runner that listens at a path; yield its pid. worker: uid that it serves; user: prefix to switch user."""
    words = runner.command_line(
        {"socket": str(path), "worker": os.geteuid() if worker is None else worker, "group": None}
    )
    with subprocess.Popen([*user, *words], env={}, stderr=subprocess.PIPE, text=True, cwd="/") as started:
        try:
            until(path.exists)
            yield started.pid
        finally:
            started.kill()


@pytest.fixture
def path() -> Iterator[Path]:
    """Return a short path for a socket, in a folder that only this user can write to."""
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        yield Path(folder) / "runner.sock"


@pytest.fixture
def theirs(path: Path) -> Iterator[int]:
    """Use a runner that listens at a socket for commands and files; yield its pid."""
    with host_runner(path) as pid:
        runner.configure(path)
        try:
            yield pid
        finally:
            runner.configure(None)


def start(folder: Path, line: str, authority: Callable[[], float] | None = None) -> Process:
    policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, folder, hidden=[])
    argv = ["/bin/sh", "-c", line]
    spec = CommandSpec(argv=argv, cwd=folder, policy=policy, limits=CommandLimits(), has_input=True)
    return Process(spec, authority=authority)


def test_worker_starts_its_own_runner_with_an_empty_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            given.append(options["env"])
            super().__init__(*arguments, **options)

    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr(subprocess, "Popen", Popen)
    runner.configure(None)

    process = start(tmp_path, "echo hi")

    assert process.wait(DEADLINE_S)
    child = runner._runner._child
    assert child is not None
    assert [environment.keys() for environment in given] == [{"PATH", "HOME"}]
    if os.geteuid() == 0:  # the runner lets nobody else look
        environment = Path(f"/proc/{child.pid}/environ").read_bytes()
        assert {word.partition(b"=")[0] for word in environment.split(b"\0")} == {b"PATH", b"HOME", b""}


def test_commands_and_files_use_the_runner_at_a_socket(theirs: int, tmp_path: Path) -> None:
    files.write_bytes(tmp_path, "a", b"text")

    process = start(tmp_path, "cat a; cat; exit 3")
    process.write(b"typed")
    process.end_input()

    assert process.wait(DEADLINE_S)
    assert (process.exit_code, process.stopped_by, process.output.text()) == (3, None, "texttyped")


def test_commands_of_a_lost_runner_end_with_unknown_outcome(theirs: int, path: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "echo up; exec sleep 60")
    until(lambda: process.output.total_bytes)

    os.kill(theirs, signal.SIGKILL)

    assert process.wait(DEADLINE_S)
    assert process.exit_code == 137
    assert process.stopped_by is not None
    assert "outcome is unknown" in process.stopped_by
    path.unlink()
    with host_runner(path):
        assert files.is_folder(tmp_path)
        assert start(tmp_path, ":").wait(DEADLINE_S)


def test_workers_own_runner_is_restarted_when_it_is_lost(tmp_path: Path) -> None:
    runner.configure(None)
    process = start(tmp_path, "echo up; exec sleep 60")
    until(lambda: process.output.total_bytes)
    child = runner._runner._child
    assert child is not None

    child.kill()

    assert process.wait(DEADLINE_S)
    assert "outcome is unknown" in str(process.stopped_by)
    assert start(tmp_path, ":").wait(DEADLINE_S)
    assert files.is_folder(tmp_path)


def test_runner_ends_the_command_of_a_worker_from_which_it_hears_nothing(theirs: int, tmp_path: Path) -> None:
    silent = threading.Event()
    process = start(tmp_path, "echo up; exec sleep 60", authority=lambda: 0 if silent.is_set() else 2)
    until(lambda: process.output.total_bytes)
    other = start(tmp_path, "read word; echo $word", authority=lambda: 10)
    silent.set()

    assert process.wait(DEADLINE_S)

    assert process.stopped_by == runner.SILENCE
    other.write(b"on\n")
    assert other.wait(DEADLINE_S)
    assert (other.exit_code, other.stopped_by, other.output.text()) == (0, None, "on\n")


def test_command_runs_on_as_long_as_its_worker_says_so(theirs: int, tmp_path: Path) -> None:
    process = start(tmp_path, "sleep 5; echo done", authority=lambda: 3)

    assert process.wait(DEADLINE_S)

    assert (process.stopped_by, process.output.text()) == (None, "done\n")


def test_command_without_a_lease_is_ended_beside_a_worker_that_stands_still(
    theirs: int, path: Path, tmp_path: Path
) -> None:
    tag = f"100000.{time.monotonic_ns()}"
    environ = os.environ | {"SLEEP": tag}
    with subprocess.Popen([sys.executable, "-c", UNLEASED, str(path)], cwd=tmp_path, env=environ) as worker:
        try:
            until((tmp_path / "log").exists)
            until(lambda: processes.is_running(tag))
            processes.pause(worker.pid)
            until(lambda: not processes.is_running(tag))
            worker.send_signal(signal.SIGCONT)
            assert worker.wait(DEADLINE_S) == 0
        finally:
            worker.kill()
    assert (tmp_path / "end").read_text() == runner.SILENCE


def test_runner_of_an_earlier_release_is_not_told_for_how_long_a_command_may_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = process_module._start
    monkeypatch.setattr(process_module, "_start", lambda spec: (*started(spec)[:2], False))

    process = start(tmp_path, "sleep 1; echo done", authority=lambda: 0.2)

    assert process.wait(DEADLINE_S)
    assert (process.stopped_by, process.output.text()) == (None, "done\n")


def pause_own_runner(monkeypatch: pytest.MonkeyPatch, silence_s: float = 0.2) -> subprocess.Popen[bytes]:
    """Pause the worker's own runner, which counts as lost after silence_s."""
    child = runner._runner._child
    assert child is not None
    monkeypatch.setattr(runner, "SILENCE_SECONDS", silence_s)
    processes.pause(child.pid)
    return child


def test_default_timeout_of_a_workers_sockets_does_not_reach_its_runner(tmp_path: Path) -> None:
    runner.configure(None)
    socket.setdefaulttimeout(0.1)  # as kombu does for a moment when a connection is lost
    try:
        process = start(tmp_path, "sleep 0.3; echo done")
        assert process.wait(DEADLINE_S)
        assert files.is_folder(tmp_path)
    finally:
        socket.setdefaulttimeout(None)

    assert process.output.text() == "done\n"


def test_runner_that_stands_still_is_killed_and_its_commands_have_an_unknown_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.configure(None)
    process = start(tmp_path, "echo up; exec sleep 60")
    until(lambda: process.output.total_bytes)

    child = pause_own_runner(monkeypatch)

    assert process.wait(DEADLINE_S)
    monkeypatch.undo()
    assert "outcome is unknown" in str(process.stopped_by)
    assert child.wait(DEADLINE_S) == -signal.SIGKILL
    assert start(tmp_path, ":").wait(DEADLINE_S)


def test_runner_of_the_host_that_never_answers_is_given_up(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "SILENCE_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(100)
        runner.configure(path)
        try:
            with pytest.raises(SandboxUnavailable, match="the tool runner was lost"):
                in_thread(lambda: files.is_folder(tmp_path)).join()
        finally:
            runner.configure(None)


def test_nothing_is_waited_for_once_everything_is_answered(tmp_path: Path) -> None:
    runner.configure(None)

    assert files.is_folder(tmp_path)

    assert runner._runner._busy_channels() == set()
    assert start(tmp_path, ":").wait(DEADLINE_S)
    until(lambda: not runner._runner._busy_channels())


def test_question_to_a_runner_that_is_lost_is_put_to_the_next_one(tmp_path: Path) -> None:
    runner.configure(None)
    results = []
    for operation in (files.is_folder, partial(files.write_bytes, relative="file", data=b"")):
        assert files.is_folder(tmp_path)
        child = runner._runner._child
        assert child is not None
        processes.pause(child.pid)
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(operation, tmp_path)
            until(lambda: runner._runner._busy_channels())
            child.kill()
            results.append(str(asked.exception(DEADLINE_S) or asked.result()))

    assert results[0] == "True"
    assert "unknown whether this was done" in results[1]


def test_command_that_a_standing_runner_does_not_start_has_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner.configure(None)
    policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, tmp_path, hidden=[])
    spec = CommandSpec(argv=["/bin/touch", "begun"], cwd=tmp_path, policy=policy, limits=CommandLimits())
    pause_own_runner(monkeypatch)

    with pytest.raises(SandboxUnavailable, match="has not begun"):
        Process(spec)

    assert os.listdir(tmp_path) == []


def test_stop_request_without_an_answer_gives_the_command_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.configure(None)
    monkeypatch.setattr(process_module, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(process_module, "DEATH_SECONDS", 0.1)
    process = start(tmp_path, "echo up; exec sleep 60")
    until(lambda: process.output.total_bytes)
    child = pause_own_runner(monkeypatch, silence_s=10 * DEADLINE_S)

    process.terminate("interrupt", grace_s=0)

    assert process.wait(DEADLINE_S)
    assert "outcome is unknown" in str(process.stopped_by)
    child.kill()


def test_heartbeat_is_answered_only_while_commands_can_be_started() -> None:
    released = threading.Event()
    server = Server(None)
    server._commands.call(released.wait)  # type: ignore[arg-type]  # as if the thread of the commands were stuck
    channels = []
    for _ in range(2):
        ours, theirs = socket.socketpair()
        ours.settimeout(DEADLINE_S)
        server.serve(theirs)
        channels.append(Channel(ours))
    heart, other = channels

    heart.send({"do": HEARTBEAT, "args": [], "kwargs": {}})
    for _ in range(20):  # the server has had the time to answer both
        other.send({"do": "is_folder", "args": [Path("/")], "kwargs": {}})
        assert other.receive() is not None
    assert heart.is_quiet()

    released.set()
    assert heart.receive() == ({"result": None}, [])


def test_runner_shutdown_ends_its_commands_and_removes_its_socket(theirs: int, path: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "echo up; read word; echo $word")
    until(lambda: process.output.total_bytes)

    os.kill(theirs, signal.SIGTERM)
    until(lambda: not path.exists())
    process.write(b"late\n")

    assert process.wait(DEADLINE_S)
    assert (process.exit_code, process.output.text()) == (0, "up\nlate\n")


def test_missing_runner_error_says_what_to_start(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "CONNECT_SECONDS", 0.1)
    runner.configure(path)
    try:
        with pytest.raises(SandboxUnavailable, match="start `threadhouse runner`"):
            files.read_bytes(tmp_path, "file", 1)
        with pytest.raises(SandboxUnavailable, match=str(path)):
            start(tmp_path, ":")
    finally:
        runner.configure(None)


def test_socket_that_others_can_write_to_is_refused(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o666)
        runner.configure(path)
        try:
            with pytest.raises(SandboxUnavailable, match="no access for other users"):
                files.is_folder(path.parent)
        finally:
            runner.configure(None)


def test_runner_serves_only_the_workers_uid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with host_runner(path, worker=4_000_000):
        runner.configure(path)
        try:
            with pytest.raises(ToolError, match="lost"):
                files.is_folder(path.parent)
        finally:
            runner.configure(None)


def test_second_runner_at_the_same_socket_is_refused(theirs: int, path: Path) -> None:
    words = runner.command_line({"socket": str(path), "worker": os.geteuid(), "group": None})

    second = subprocess.run(words, env={}, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    assert second.returncode == 1
    assert "another runner listens there" in second.stderr
    assert files.is_folder(path.parent)


def test_a_hundred_commands_run_at_once(tmp_path: Path) -> None:
    processes = [start(tmp_path, f"read word; echo {number} $word") for number in range(100)]
    for process in processes:
        process.write(b"go\n")

    assert all(process.wait(DEADLINE_S) for process in processes)
    assert [process.output.text() for process in processes] == [f"{number} go\n" for number in range(100)]


def test_git_folder_is_writable_for_hosted_users_but_not_for_the_local_user(
    tmp_path: Path,
) -> None:
    hooks = tmp_path / ".git" / "hooks"
    hooks.mkdir(parents=True)
    line = ["/bin/sh", "-c", "echo x > .git/hooks/pre-commit; mv .git elsewhere; rm -rf .git; echo y > beside"]

    def run(workspace: Path | None) -> None:
        policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, tmp_path, hidden=[], workspace=workspace)
        run_to_end(CommandSpec(argv=line, cwd=tmp_path, policy=policy, limits=CommandLimits(), separate_stderr=True))

    run(None)
    assert os.listdir(hooks) == []
    assert (tmp_path / "beside").exists()

    run(tmp_path)
    assert not hooks.exists()


PLANT = "git init -q .; mkdir -p .git/hooks; echo x > .git/config; rmdir .git; mv .git away; echo y > beside"


def run_locally(cwd: Path, line: str, **options: Any) -> Process:
    policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, cwd, hidden=[])
    return Process(CommandSpec(argv=["/bin/sh", "-c", line], cwd=cwd, policy=policy, limits=CommandLimits(), **options))


def test_a_local_users_command_cannot_make_a_git_folder(tmp_path: Path) -> None:
    process = run_locally(tmp_path, PLANT)

    assert process.wait(DEADLINE_S)
    assert os.listdir(tmp_path) == ["beside"]
    assert "Read-only file system" in process.output.text()


def test_the_place_of_a_git_folder_is_held_until_the_last_command_ends(tmp_path: Path) -> None:
    long = run_locally(tmp_path, f"read word; {PLANT}", has_input=True)
    until((tmp_path / ".git").is_dir)
    short = run_locally(tmp_path, "true")
    assert short.wait(DEADLINE_S)
    assert (tmp_path / ".git").is_dir()

    long.write(b"go\n")

    assert long.wait(DEADLINE_S)
    assert os.listdir(tmp_path) == ["beside"]


def test_a_repository_that_the_user_makes_during_a_command_stays(tmp_path: Path) -> None:
    process = run_locally(tmp_path, "read word", has_input=True)
    until((tmp_path / ".git").is_dir)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")

    process.write(b"go\n")

    assert process.wait(DEADLINE_S)
    assert (tmp_path / ".git" / "HEAD").exists()


def test_a_placeholder_that_a_lost_runner_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    assert run_locally(tmp_path, PLANT).wait(DEADLINE_S)

    assert os.listdir(tmp_path) == ["beside"]


def test_git_folder_that_is_a_link_does_not_reveal_its_target(tmp_path: Path) -> None:
    secret, work = tmp_path / "home", tmp_path / "work"
    for folder in (secret, work):
        folder.mkdir()
    (secret / "config.toml").write_text("sk-secret")
    (work / ".git").symlink_to(secret)
    policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, work, hidden=[secret])

    spec = CommandSpec(argv=["/bin/cat", ".git/config.toml"], cwd=work, policy=policy, limits=CommandLimits())

    with pytest.raises(ToolError, match="symbolic link"):
        run_to_end(spec)


RUNNER = """
import json, os, sys
from workers.sandbox import runner
os.execve("/proc/self/exe", runner.command_line(json.loads(sys.argv[1])), {})
"""
WORKER = """
import os, sys
from pathlib import Path
from typing import Any
from workers.runner.server import Server
from workers.sandbox import files, runner
from workers.sandbox import process as process_module
from workers.sandbox.channel import Channel
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import run_to_end

runner.configure(Path(sys.argv[1]))
own = files.make_private_folder(Path(sys.argv[2]), "me", "thread")
files.write_bytes(own, "file", b"text")
for kind in ("workspaceWrite", "dangerFullAccess"):
    policy = SandboxPolicy.from_wire({"type": kind}, own, hidden=[], workspace=own)
    line = f"id -u; cat file; echo; cat {sys.argv[3]} && echo stolen; touch {os.getcwd()}/x && echo written"
    argv = ["/bin/sh", "-c", line]
    spec = CommandSpec(argv=argv, cwd=own, policy=policy, limits=CommandLimits(), separate_stderr=True)
    print(run_to_end(spec).output.text().split())
try:
    os.listdir(own)
except PermissionError:
    print("refused")
print(files.read_bytes(own, "file", 10))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it starts processes of two users")
def test_runner_of_another_user_owns_workspaces_and_cannot_read_the_workers_files() -> None:
    with unprivileged(0) as worker, unprivileged(1) as other:
        for someone in (worker, other):
            someone.folder.chmod(0o711)
        keys, path = worker.folder / "config.toml", other.folder / "runner.sock"
        keys.write_text("sk-secret")
        worker_uid, other_uid = (user.folder.stat().st_uid for user in (worker, other))
        os.chown(keys, worker_uid, worker_uid)
        keys.chmod(0o600)
        arguments = {"socket": str(path), "worker": worker_uid, "group": None}
        with other.start(RUNNER, json.dumps(arguments)) as started:
            try:
                until(path.exists)
                os.chown(path, other_uid, worker_uid)  # like --group, which must be one of the runner's own groups
                lines = worker.run(WORKER, str(path), str(other.folder / "workspaces"), str(keys)).splitlines()
            finally:
                started.kill()

    assert lines == [*[str([str(other_uid), "text"])] * 2, "refused", "b'text'"]
