"""threadhouse doctor, and commands that refuse to run as root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.cli import commands, worker
from shared.config import load
from shared.errors import ConfigError
from shared.store import Store
from shared.store.migrations import migrate

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the command must refuse it")


def run_doctor(home: Path) -> str:
    return CliRunner().invoke(commands, ["doctor", "--home", str(home)], env={"THREADHOUSE_HOME": str(home)}).output


def test_doctor_checks_the_sandbox_through_the_runner_and_prints_warnings(tmp_path: Path) -> None:
    output = run_doctor(tmp_path)

    assert "ok      runner: each worker starts its own tool runner" in output
    assert "ok      sandbox: bubblewrap isolates commands" in output
    assert f"ok      workspaces: {tmp_path}/workspaces is writable" in output
    assert ("warning root:" in output) == (os.geteuid() == 0)
    assert "ok      memory: a command over its limit was ended by the " in output


def test_doctor_fails_when_the_configured_runner_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[server]\ntool_runner = "runner.sock"\n')

    output = run_doctor(tmp_path)

    assert f"failed  runner: the tool runner does not answer at {tmp_path}/runner.sock" in output
    assert "threadhouse runner" in output


@root
def test_worker_refuses_root_when_there_are_users_or_remote_clients(tmp_path: Path) -> None:
    def config(more: str = "") -> None:
        (tmp_path / "config.toml").write_text(f"[server]\n{more}\n")
        worker.refuse_root(load(tmp_path, {}))

    migrate(load(tmp_path, {}).database_url)
    config()
    with pytest.raises(ConfigError, match="start it as another user"):
        config('host = "0.0.0.0"')

    store = Store(load(tmp_path, {}).database_url)
    store.users.add("ada")
    store.close()
    with pytest.raises(ConfigError, match="do not run as root"):
        config()
    config("dangerously_run_as_root = true")


@root
def test_runner_refuses_root() -> None:
    result = CliRunner().invoke(commands, ["runner", "--socket", "/nonexistent/runner.sock"])

    assert isinstance(result.exception, ConfigError)
    assert "start the runner as another user" in str(result.exception)
