"""What the command line says of a host: the doctor, and who may not be root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from api.cli import commands, worker
from shared.config import load
from shared.errors import ConfigError
from shared.store import Store
from shared.store.connection import migrate

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, which is refused")


def diagnose(home: Path) -> str:
    return CliRunner().invoke(commands, ["doctor", "--home", str(home)], env={"THREADHOUSE_HOME": str(home)}).output


def test_the_doctor_checks_the_sandbox_by_the_runner_and_advises(tmp_path: Path) -> None:
    said = diagnose(tmp_path)

    assert "ok      runner: each worker starts one of its own" in said
    assert "ok      sandbox: bubblewrap contains commands" in said
    assert f"ok      workspaces: {tmp_path}/workspaces is writable" in said
    assert ("warning root:" in said) == (os.geteuid() == 0)
    assert "warning cgroups: none are delegated" in said


def test_the_doctor_says_when_the_configured_runner_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[server]\ntool_runner = "runner.sock"\n')

    said = diagnose(tmp_path)

    assert f"failed  runner: the tool runner does not answer at {tmp_path}/runner.sock" in said
    assert "threadhouse runner" in said


@root
def test_workers_of_a_server_with_users_or_other_machines_as_clients_do_not_run_as_root(tmp_path: Path) -> None:
    def config(more: str = "") -> None:
        (tmp_path / "config.toml").write_text(f"[server]\n{more}\n")
        worker.refuse_root(load(tmp_path, {}))

    migrate(load(tmp_path, {}).database_url)
    config()
    with pytest.raises(ConfigError, match="start it as a user of its own"):
        config('host = "0.0.0.0"')

    store = Store(load(tmp_path, {}).database_url)
    store.users.add("ada")
    store.close()
    with pytest.raises(ConfigError, match="do not run as root"):
        config()
    config("dangerously_run_as_root = true")


@root
def test_a_runner_does_not_run_as_root() -> None:
    result = CliRunner().invoke(commands, ["runner", "--socket", "/nonexistent/runner.sock"])

    assert isinstance(result.exception, ConfigError)
    assert "as a user of its own" in str(result.exception)
