"""`threadhouse doctor` runs a command into its limit of memory, and says what ended it.

Most machines that run tests delegate no control groups, so the groups here are folders, and a thread of the test is the
kernel: it ends the command and counts that in the group.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from api.cli import commands, doctor
from tests.support.deployment import Deployment
from tests.support.wait import until
from workers.runner import host
from workers.runner.host import TOO_MUCH

RUNNER = """
import sys
from pathlib import Path
from workers.runner import cgroups, server
cgroups.MOUNT = Path(sys.argv[2])
cgroups.MEMBERSHIP = cgroups.MOUNT / "membership"
server.main()
"""


@contextmanager
def runner_with_groups(home: Path, controllers: str = "memory pids") -> Iterator[Path]:
    """Run a tool runner that believes in a delegated group. Yield that group."""
    mount = home / "cgroups"
    mount.mkdir()
    texts = {"cgroup.controllers": controllers, "cgroup.type": "domain", "cgroup.procs": "", "membership": "0::/\n"}
    for name, text in texts.items():
        (mount / name).write_text(text)
    (home / "config.toml").write_text('[server]\ntool_runner = "runner.sock"\n')
    arguments = json.dumps({"socket": str(home / "runner.sock"), "group": None, "worker": os.geteuid()})
    with subprocess.Popen([sys.executable, "-c", RUNNER, arguments, str(mount)]) as runner:
        until(lambda: listens(home / "runner.sock"))
        try:
            yield mount
        finally:
            runner.terminate()


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def run_doctor(home: Path) -> str:
    doctor._ask_runner.cache_clear()
    return CliRunner().invoke(commands, ["doctor", "--home", str(home)], env={"THREADHOUSE_HOME": str(home)}).output


def end_over_limit(mount: Path) -> None:
    """Do what the kernel does to a group over its limit."""
    until(lambda: [file for file in mount.glob("command-*/memory.max") if file.read_text() == str(16 << 20)])
    group = next(mount.glob("command-*"))
    (group / "memory.events").write_text("oom_kill 1\n")
    until(lambda: (group / "cgroup.procs").exists())
    until(kill_command)  # a shell enters the group, and becomes bwrap after that


def kill_command() -> bool:
    """Kill the processes of bwrap that the command has. Return whether there was one."""
    killed = False
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if TOO_MUCH.encode() in (folder / "cmdline").read_bytes() and "bwrap" in os.readlink(folder / "exe"):
                os.kill(int(folder.name), signal.SIGKILL)
                killed = True
    return killed


def test_doctor_says_that_the_kernel_limits_memory_when_it_did(tmp_path: Path) -> None:
    with runner_with_groups(tmp_path) as mount:
        kernel = Thread(target=end_over_limit, args=[mount])
        kernel.start()
        output = run_doctor(tmp_path)
        kernel.join()

    assert "ok      memory: a command over its limit was ended by the kernel (cgroup v2)" in output
    assert "watched" not in output


def test_doctor_fails_when_a_delegated_group_limits_nothing(tmp_path: Path) -> None:
    with runner_with_groups(tmp_path):
        output = run_doctor(tmp_path)

    assert "failed  memory: a command that takes four times its limit was ended by time limit" in output


def test_doctor_warns_where_memory_is_only_watched(tmp_path: Path) -> None:
    with runner_with_groups(tmp_path, controllers="pids"):
        output = run_doctor(tmp_path)

    assert "ok      memory: a command over its limit was ended by the watchdog" in output
    assert "warning memory: what commands use is watched, not limited" in output
    assert "does not control memory" in output


def test_workers_of_a_server_with_users_warn_at_their_start(tmp_path: Path) -> None:
    warning = "memory of commands is watched, not limited"
    if host.why_memory_is_unlimited() is None:
        pytest.skip("the kernel limits memory here")
    with Deployment(tmp_path, api=0) as deployment:
        worker = deployment.workers[0]
        assert not worker.has_logged(warning)

        deployment.add_user("eve")
        worker.kill()
        deployment.start_worker(worker)

        assert worker.has_logged(warning)
