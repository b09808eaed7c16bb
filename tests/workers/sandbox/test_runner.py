"""The tool runner: lost, started again, of another user, and closed to strangers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.errors import SandboxUnavailable, ToolError
from tests.support.unprivileged import unprivileged
from tests.support.wait import until
from workers.sandbox import files, runner
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process, run_to_end

DEADLINE_S = 20


@contextmanager
def host_runner(path: Path, *, worker: int | None = None, user: tuple[str, ...] = ()) -> Iterator[int]:
    """A runner that listens at a path; its pid. worker: whom it serves; user: words in front that make it another's."""
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
    """Of a socket: short, in a folder that only we can write to."""
    with tempfile.TemporaryDirectory(prefix="runner-") as folder:
        yield Path(folder) / "runner.sock"


@pytest.fixture
def theirs(path: Path) -> Iterator[int]:
    """Commands and files go through a runner that listens at a socket; its pid."""
    with host_runner(path) as pid:
        runner.use(path)
        try:
            yield pid
        finally:
            runner.use(None)


def start(folder: Path, line: str) -> Process:
    policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, folder, hidden=[])
    return Process(["/bin/sh", "-c", line], cwd=folder, policy=policy, limits=CommandLimits(), has_input=True)


def test_a_worker_without_a_configured_runner_starts_one_that_has_none_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    runner.use(None)

    process = start(tmp_path, "echo hi")

    assert process.wait(DEADLINE_S)
    child = runner._runner._child
    assert child is not None
    environment = Path(f"/proc/{child.pid}/environ").read_bytes()
    assert {word.partition(b"=")[0] for word in environment.split(b"\0")} == {b"PATH", b"HOME", b""}


def test_commands_and_files_go_through_a_runner_at_a_socket(theirs: int, tmp_path: Path) -> None:
    files.write_bytes(tmp_path, "a", b"text")

    process = start(tmp_path, "cat a; cat; exit 3")
    process.write(b"typed")
    process.end_input()

    assert process.wait(DEADLINE_S)
    assert (process.exit_code, process.stopped_by, process.output.text()) == (3, None, "texttyped")


def test_a_lost_runner_takes_its_commands_with_it_and_that_is_told(theirs: int, path: Path, tmp_path: Path) -> None:
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


def test_a_runner_of_ones_own_that_was_lost_is_started_again(tmp_path: Path) -> None:
    runner.use(None)
    process = start(tmp_path, "echo up; exec sleep 60")
    until(lambda: process.output.total_bytes)
    child = runner._runner._child
    assert child is not None

    child.kill()

    assert process.wait(DEADLINE_S)
    assert "outcome is unknown" in str(process.stopped_by)
    assert start(tmp_path, ":").wait(DEADLINE_S)
    assert files.is_folder(tmp_path)


def test_a_runner_that_shuts_down_ends_its_commands_and_removes_its_socket(
    theirs: int, path: Path, tmp_path: Path
) -> None:
    process = start(tmp_path, "echo up; read word; echo $word")
    until(lambda: process.output.total_bytes)

    os.kill(theirs, signal.SIGTERM)
    until(lambda: not path.exists())
    process.write(b"late\n")

    assert process.wait(DEADLINE_S)
    assert (process.exit_code, process.output.text()) == (0, "up\nlate\n")


def test_without_a_runner_the_error_says_what_to_start(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "CONNECT_SECONDS", 0.1)
    runner.use(path)
    try:
        with pytest.raises(SandboxUnavailable, match="start `threadhouse runner`"):
            files.read_bytes(tmp_path, "file", 1)
        with pytest.raises(SandboxUnavailable, match=str(path)):
            start(tmp_path, ":")
    finally:
        runner.use(None)


def test_a_socket_that_others_can_write_to_is_refused(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o666)
        runner.use(path)
        try:
            with pytest.raises(SandboxUnavailable, match="closed to others"):
                files.is_folder(path.parent)
        finally:
            runner.use(None)


def test_a_runner_serves_its_worker_and_nobody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with host_runner(path, worker=4_000_000):
        runner.use(path)
        try:
            with pytest.raises(ToolError, match="lost"):
                files.is_folder(path.parent)
        finally:
            runner.use(None)


def test_a_second_runner_at_the_same_socket_is_refused_and_the_first_goes_on(theirs: int, path: Path) -> None:
    words = runner.command_line({"socket": str(path), "worker": os.geteuid(), "group": None})

    second = subprocess.run(words, env={}, capture_output=True, text=True, timeout=DEADLINE_S, check=False)

    assert second.returncode == 1
    assert "another runner serves there" in second.stderr
    assert files.is_folder(path.parent)


def test_a_hundred_commands_at_once(tmp_path: Path) -> None:
    processes = [start(tmp_path, f"read word; echo {number} $word") for number in range(100)]
    for process in processes:
        process.write(b"go\n")

    assert all(process.wait(DEADLINE_S) for process in processes)
    assert [process.output.text() for process in processes] == [f"{number} go\n" for number in range(100)]


def test_the_git_folder_of_a_local_user_cannot_be_written_by_a_command_but_that_of_a_hosted_one_can(
    tmp_path: Path,
) -> None:
    hooks = tmp_path / ".git" / "hooks"
    hooks.mkdir(parents=True)
    line = ["/bin/sh", "-c", "echo x > .git/hooks/pre-commit; mv .git elsewhere; rm -rf .git; echo y > beside"]

    def run(workspace: Path | None) -> None:
        policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, tmp_path, hidden=[], workspace=workspace)
        run_to_end(line, cwd=tmp_path, policy=policy, limits=CommandLimits())

    run(None)
    assert os.listdir(hooks) == []
    assert (tmp_path / "beside").exists()

    run(tmp_path)
    assert not hooks.exists()


def test_a_git_folder_that_is_a_link_shows_nothing_of_what_it_leads_to(tmp_path: Path) -> None:
    secret, work = tmp_path / "home", tmp_path / "work"
    for folder in (secret, work):
        folder.mkdir()
    (secret / "config.toml").write_text("sk-secret")
    (work / ".git").symlink_to(secret)
    policy = SandboxPolicy.from_wire({"type": "workspaceWrite"}, work, hidden=[secret])

    process = run_to_end(["/bin/cat", ".git/config.toml"], cwd=work, policy=policy, limits=CommandLimits())

    assert process.exit_code == 1
    assert "sk-secret" not in process.output.text()


RUNNER = """
import json, os, sys
from workers.sandbox import runner
os.execve("/proc/self/exe", runner.command_line(json.loads(sys.argv[1])), {})
"""
WORKER = """
import os, sys
from pathlib import Path
from workers.sandbox import files, runner
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import run_to_end

runner.use(Path(sys.argv[1]))
own = files.make_private_folder(Path(sys.argv[2]), "me", "thread")
files.write_bytes(own, "file", b"text")
for kind in ("workspaceWrite", "dangerFullAccess"):
    policy = SandboxPolicy.from_wire({"type": kind}, own, hidden=[], workspace=own)
    line = f"id -u; cat file; echo; cat {sys.argv[3]} && echo stolen; touch {os.getcwd()}/x && echo written"
    print(run_to_end(["/bin/sh", "-c", line], cwd=own, policy=policy, limits=CommandLimits()).output.text().split())
try:
    os.listdir(own)
except PermissionError:
    print("refused")
print(files.read_bytes(own, "file", 10))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it starts processes of two users")
def test_a_runner_of_another_user_owns_the_workspaces_and_reaches_nothing_of_its_worker() -> None:
    with unprivileged(0) as worker, unprivileged(1) as other:
        for someone in (worker, other):
            someone.folder.chmod(0o711)
        keys, path = worker.folder / "config.toml", other.folder / "runner.sock"
        keys.write_text("sk-secret")
        worker_uid, other_uid = (one.folder.stat().st_uid for one in (worker, other))
        os.chown(keys, worker_uid, worker_uid)
        keys.chmod(0o600)
        arguments = {"socket": str(path), "worker": worker_uid, "group": None}
        with other.start(RUNNER, json.dumps(arguments)) as started:
            try:
                until(path.exists)
                os.chown(path, other_uid, worker_uid)  # the group: as --group, which must be one of the runner's own
                said = worker.run(WORKER, str(path), str(other.folder / "workspaces"), str(keys)).splitlines()
            finally:
                started.kill()

    assert said == [*[str([str(other_uid), "text"])] * 2, "refused", "b'text'"]
