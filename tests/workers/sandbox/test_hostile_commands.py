"""What commands of strangers try, run by a worker that is not root."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from shared.errors import ToolError
from tests.support.processes import is_running
from tests.support.unprivileged import Unprivileged, unprivileged
from workers.sandbox import files

WORKER = """
import json, sys
from pathlib import Path
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import run_to_end

home = Path("home").absolute()
workspace = home / "workspaces/me/thread"
for line in sys.stdin:
    asked = json.loads(line)
    policy = SandboxPolicy.from_wire(
        asked["policy"], workspace, hidden=[home], workspace=workspace if asked["hosted"] else None
    )
    process = run_to_end(
        ["/bin/bash", "-c", asked["command"]], cwd=workspace, policy=policy, limits=CommandLimits(**asked["limits"])
    )
    said = process.output.text() + process.errors.text()
    print(json.dumps([process.exit_code, process.stopped_by, said]), flush=True)
"""
SECRET = "sk-" + secrets.token_hex(8)


class House:
    """A worker and what lies on its host."""

    def __init__(self, someone: Unprivileged) -> None:
        self.home = someone.folder / "home"
        self.workspace = self.home / "workspaces/me/thread"
        other = self.home / "workspaces/other/thread"
        for folder in (self.workspace, other):
            folder.mkdir(parents=True)
        for file in (other / "secret", self.home / "config.toml"):
            file.write_text(SECRET)
        owner = someone.folder.stat()
        for path in (self.home, *self.home.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        self.worker = someone.start(WORKER, OPENAI_API_KEY=SECRET)

    def run(
        self,
        command: str,
        *,
        hosted: bool = True,
        kind: str = "workspaceWrite",
        network: bool = False,
        **limits: float,
    ) -> tuple[int, str | None, str]:
        """exit code, what stopped it, output and errors."""
        policy: dict[str, Any] = {"type": kind, "networkAccess": network}
        asked = {"command": command, "hosted": hosted, "policy": policy, "limits": limits}
        assert self.worker.stdin is not None
        assert self.worker.stdout is not None
        print(json.dumps(asked), file=self.worker.stdin, flush=True)
        exit_code, stopped_by, said = json.loads(self.worker.stdout.readline())
        return exit_code, stopped_by, said


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with unprivileged() as someone:
        house = House(someone)
        try:
            yield house
        finally:
            house.worker.kill()
            house.worker.communicate()


both = pytest.mark.parametrize("hosted", [True, False], ids=["hosted", "local"])


@both
def test_a_command_works_in_its_workspace(house: House, hosted: bool) -> None:
    exit_code, _, said = house.run("echo text > file && cat file && pwd && id -u", hosted=hosted)

    assert exit_code == 0, said
    assert said.split()[:2] == ["text", str(house.workspace)]
    assert said.split()[2] != "0"
    assert (house.workspace / "file").read_text() == "text\n"


@both
def test_neither_another_workspace_nor_the_configuration_can_be_read(house: House, hosted: bool) -> None:
    exit_code, _, said = house.run(
        "cat ../../other/thread/secret ../../../config.toml; ls -a ../.. ../../..; ln -sf ../../other/thread away;"
        " cat away/secret; grep -rs sk- ../../.. && echo found",
        hosted=hosted,
    )

    assert exit_code == 1
    assert SECRET not in said
    assert "other" not in said.replace("../../other", "")
    assert "found" not in said
    with pytest.raises(ToolError, match="leads out"):
        files.read_bytes(house.workspace, "away/secret", 1000)


@both
def test_no_environment_holds_the_servers_secrets(house: House, hosted: bool) -> None:
    exit_code, _, said = house.run("env; cat /proc/1/environ /proc/*/environ | tr '\\0' '\\n'", hosted=hosted)

    assert "LC_ALL=C.UTF-8" in said
    assert exit_code == 0
    assert SECRET not in said
    assert "PYTHONPATH" not in said


def test_other_processes_of_the_host_are_not_there(house: House) -> None:
    _, _, said = house.run("ls -d /proc/[0-9]* | wc -l; kill -9 -1; echo unreached")

    assert int(said.split()[0]) <= 5
    assert house.run("echo alive")[2] == "alive\n"


def test_loopback_can_be_reached_only_with_network_access(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        knock = f"exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]} && echo in"

        assert house.run(knock)[0] != 0
        assert house.run(knock, network=True) == (0, None, "in\n")


@both
def test_nothing_outside_of_the_workspace_can_be_written(house: House, hosted: bool) -> None:
    tries = "/x /etc/x /usr/x /dev/x /run/x /proc/sys/kernel/x ../x ../../other/thread/x ../../../x /var/tmp/x"
    _, _, said = house.run(f"for path in {tries}; do touch $path && echo wrote $path; done", hosted=hosted)

    assert "wrote" not in said
    assert not (house.home / "x").exists()


def test_a_read_only_command_writes_nothing_but_its_own_tmp_which_ends_with_it(house: House) -> None:
    _, _, said = house.run("touch x && echo wrote; echo kept > /tmp/x; cat /tmp/x", kind="readOnly", hosted=False)
    assert "wrote" not in said
    assert said.startswith("kept")

    assert house.run("cat /tmp/x", kind="readOnly", hosted=False)[0] == 1


def test_memory_folders_are_bounded(house: House) -> None:
    exit_code, _, said = house.run("head -c 70M /dev/zero > /dev/shm/x; df /tmp | tail -1 | awk '{print $2}'")

    assert "No space left" in said
    assert int(said.split()[0]) <= 256 << 10
    assert exit_code == 0


def test_a_fork_bomb_hurts_only_itself(house: House) -> None:
    exit_code, stopped_by, said = house.run("bomb() { bomb | bomb & }; bomb; sleep 60", processes=40, wall_seconds=0.7)

    assert stopped_by == "time limit"
    assert exit_code != 0
    assert "Resource temporarily unavailable" in said
    assert house.run("echo alive")[2] == "alive\n"


def test_many_commands_at_their_limit_do_not_starve_each_other(house: House) -> None:
    crowd = "for i in $(seq 30); do sleep 60 & done; jobs -p | wc -l; kill $(jobs -p)"

    assert house.run(crowd, processes=40)[2].split()[0] == "30"
    assert "Resource temporarily unavailable" in house.run(crowd, processes=20, wall_seconds=0.7)[2]


def test_endless_output_is_cut_and_counted(house: House) -> None:
    exit_code, stopped_by, said = house.run("yes", output_bytes=10_000, wall_seconds=0.5)

    assert stopped_by == "time limit"
    assert "bytes of output left out" in said
    assert len(said) < 10_100
    assert exit_code != 0


def test_a_child_that_leaves_its_group_its_session_and_its_parent_ends_with_the_command(house: House) -> None:
    seconds = f"9{secrets.randbelow(10**8)}"
    escape = f"(setsid setsid nohup sleep {seconds} >/dev/null 2>&1 &) ; until pgrep -f 'sleep {seconds}'; do :; done"

    assert house.run(f"{escape}; exit 7")[0] == 7
    assert not is_running(seconds)


def test_limits_of_file_size_and_memory_hold(house: House) -> None:
    exit_code, _, _ = house.run("head -c 2M /dev/zero > big", file_size_bytes=1 << 20)
    assert exit_code == 128 + 25  # SIGXFSZ
    assert (house.workspace / "big").stat().st_size == 1 << 20

    _, _, said = house.run("head -c 200M /dev/zero | tail -c 200M | wc -c", memory_bytes=50 << 20)
    assert "memory exhausted" in said


def test_no_capability_and_no_namespace_of_its_own_is_left(house: House) -> None:
    _, _, said = house.run("grep CapEff /proc/self/status; unshare -Ur true && echo nested; mount -t tmpfs x /tmp")

    assert "CapEff:\t0000000000000000" in said
    assert "nested" not in said


LONE = """
import sys
from pathlib import Path
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process

folder = Path.cwd() / "lone"
folder.mkdir(exist_ok=True)
policy = SandboxPolicy.from_wire({"type": sys.argv[1]}, folder, hidden=[])
command = ["/bin/bash", "-c", f"(setsid sleep {sys.argv[2]} &); echo up; exec sleep {sys.argv[2]}"]
Process(command, cwd=folder, policy=policy, limits=CommandLimits(), on_output=lambda text: print(text, flush=True))
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["workspaceWrite", "dangerFullAccess"])
def test_no_command_outlives_a_worker_that_was_killed(kind: str) -> None:
    seconds = f"9{secrets.randbelow(10**8)}"
    with unprivileged() as someone, someone.start(LONE, kind, seconds) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
        assert is_running(seconds)

        worker.kill()

        deadline = time.monotonic() + 10
        while is_running(seconds):
            assert time.monotonic() < deadline
