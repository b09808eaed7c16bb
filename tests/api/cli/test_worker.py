"""`threadhouse worker` says by its status whether a supervisor must start it again, and replaces a killed one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery.signals import worker_ready
from click.testing import CliRunner

from api.cli import commands
from api.cli import worker as cli_worker
from shared.config import load
from shared.config.server import LOG_FORMAT_VARIABLE
from shared.errors import ConfigError
from workers.app import app


class Worker:
    """Celery's worker, as far as the command needs it: `start` runs until it ends."""

    def __init__(self, exitcode: int | None, start: Callable[[], object] = lambda: None) -> None:
        self.exitcode = exitcode
        self.start = start


def use(monkeypatch: pytest.MonkeyPatch, worker: Worker, name: str = "host:1:new") -> list[str | None]:
    """Have the command start this worker, with this name. Return the names of those that it replaces, as they come."""
    replaced: list[str | None] = []
    monkeypatch.setattr("workers.app.services", lambda: SimpleNamespace(name=name))
    monkeypatch.setattr("workers.app.replace_worker", replaced.append)
    monkeypatch.setattr("api.cli.worker.refuse_root", lambda _: None)
    monkeypatch.setattr(worker_ready, "receivers", [])  # those of workers.app start threads
    monkeypatch.setattr(app, "Worker", lambda **_: worker)
    return replaced


@pytest.mark.parametrize(("celery_status", "status"), [(None, 0), (0, 0), (1, 1)])
def test_status_is_that_of_celery(monkeypatch: pytest.MonkeyPatch, celery_status: int | None, status: int) -> None:
    use(monkeypatch, Worker(celery_status))

    assert CliRunner().invoke(commands, ["worker"]).exit_code == status


def test_status_tells_that_the_scheduler_of_the_worker_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def start_in_thread(_app: object, _config: object, note_failure: Callable[[], None]) -> Callable[[], None]:
        note_failure()
        return lambda: None

    use(monkeypatch, Worker(0, lambda: worker_ready.send(None)))
    monkeypatch.setattr("api.cli.beat.start_in_thread", start_in_thread)

    assert CliRunner().invoke(commands, ["worker", "--beat"]).exit_code == 1


class Loop:
    """The loop that takes tasks, as far as the ready file needs it: a consumer that is its own timer."""

    def __init__(self) -> None:
        self.timer = self
        self.ticks: list[Callable[[], None]] = []

    def call_repeatedly(self, seconds: float, function: Callable[..., None], args: tuple[object, ...]) -> None:
        self.ticks.append(lambda: function(*args))


def test_the_loop_that_takes_tasks_keeps_the_ready_file_young(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, loop, left = tmp_path / "ready", Loop(), []
    file.touch()  # by an earlier process

    def start() -> None:
        left.append(file.exists())
        worker_ready.send(loop)

    use(monkeypatch, Worker(0, start))

    assert CliRunner().invoke(commands, ["worker", "--ready-file", str(file)]).exit_code == 0
    assert left == [False]
    (tick,) = loop.ticks
    os.utime(file, (0, 0))
    tick()
    assert file.stat().st_mtime > 0
    file.unlink()
    tick()
    assert not file.exists(), "who removes it waits for another process"


@pytest.mark.parametrize("before", ["ended", "another host", "no name", "no text", "none"])
def test_a_worker_replaces_the_one_before_it_if_that_has_certainly_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str
) -> None:
    file, names = tmp_path / "ready", tmp_path / "ready.worker"
    name = {
        "ended": f"{socket.gethostname()}:{os.getpid()}:aa",  # the same process id, as after each start of a container
        "another host": f"elsewhere:{os.getpid()}:aa",
        "no name": "half a na",
        "no text": "\udcff\udcfe",
    }.get(before)
    if name is not None:
        names.write_text(name, errors="surrogateescape")
    replaced = use(monkeypatch, Worker(0, lambda: worker_ready.send(Loop())), "host:1:new")

    assert CliRunner().invoke(commands, ["worker", "--ready-file", str(file)]).exit_code == 0

    assert replaced == [name if before == "ended" else None]
    assert names.read_text() == "host:1:new"


def test_a_worker_that_still_has_the_file_is_not_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file, other = tmp_path / "ready", f"{socket.gethostname()}:1:aa"
    use(monkeypatch, Worker(0, lambda: worker_ready.send(Loop())), other)
    CliRunner().invoke(commands, ["worker", "--ready-file", str(file)])
    held = cli_worker._locked_name_file
    replaced = use(monkeypatch, Worker(0, lambda: worker_ready.send(Loop())), "host:1:new")

    assert CliRunner().invoke(commands, ["worker", "--ready-file", str(file)]).exit_code == 0

    assert replaced == [None]
    assert held is not None
    assert (tmp_path / "ready.worker").read_text() == other
    assert file.exists()


def test_a_worker_that_cannot_keep_its_name_is_ready_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ready.worker").mkdir()
    replaced = use(monkeypatch, Worker(0, lambda: worker_ready.send(Loop())))

    assert CliRunner().invoke(commands, ["worker", "--ready-file", str(tmp_path / "ready")]).exit_code == 0

    assert replaced == [None]
    assert (tmp_path / "ready").exists()


def test_a_queue_that_does_not_exist_is_refused() -> None:
    refused = CliRunner().invoke(commands, ["worker", "--queues", "turns,nosuch"])

    assert isinstance(refused.exception, ConfigError)
    assert "--queues nosuch: there is no such queue" in str(refused.exception)


def test_the_log_format_of_a_command_reaches_its_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOG_FORMAT_VARIABLE, "text")  # so that it is as before when the test ends
    found: list[str] = []
    use(monkeypatch, Worker(0, lambda: found.append(load(None, os.environ).server.log_format)))

    CliRunner().invoke(commands, ["worker", "--log-format", "json"])

    assert found == ["json"]
