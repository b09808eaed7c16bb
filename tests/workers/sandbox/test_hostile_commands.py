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
from dataclasses import replace
from pathlib import Path
from workers.runner.hardening import forbid_looking
from workers.sandbox import runner
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import run_to_end

home = Path("home").absolute()
workspace = home / "workspaces/me/thread"
forbid_looking()
runner.connect().close()
print(runner._runner._child.pid, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    policy = SandboxPolicy.from_wire(
        asked["policy"], workspace, hidden=[home], workspace=workspace if asked["hosted"] else None
    )
    policy = replace(policy, quotas=((workspace, *asked["quota"]),))
    process = run_to_end(
        ["/bin/bash", "-c", asked["command"]], cwd=workspace, policy=policy, limits=CommandLimits(**asked["limits"])
    )
    said = process.output.text() + process.errors.text()
    print(json.dumps([process.exit_code, process.stopped_by, said]), flush=True)
"""
SECRET = "sk-" + secrets.token_hex(8)
PTRACE = {"x86_64": 101}.get(os.uname().machine, 117)  # number of the system call


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
        self.someone = someone
        self.worker = someone.start(WORKER, OPENAI_API_KEY=SECRET)
        assert self.worker.stdout is not None
        self.runner_pid = int(self.worker.stdout.readline())

    def run(
        self,
        command: str,
        *,
        hosted: bool = True,
        kind: str = "workspaceWrite",
        network: bool = False,
        quota: tuple[int, int] = (0, 0),
        **limits: float,
    ) -> tuple[int, str | None, str]:
        """exit code, what stopped it, output and errors."""
        policy: dict[str, Any] = {"type": kind, "networkAccess": network}
        asked = {"command": command, "hosted": hosted, "policy": policy, "limits": limits, "quota": quota}
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


@both
def test_the_processes_of_the_server_are_out_of_reach(house: House, hosted: bool) -> None:
    pids = f"{house.worker.pid} {house.runner_pid}"
    attach = f"perl -e 'exit(syscall({PTRACE}, 16, $_, 0, 0) == 0) for @ARGV' {pids} || echo attached"
    _, _, said = house.run(
        f"for pid in {pids} 1; do cat /proc/$pid/environ; head -c 99 /proc/$pid/mem && echo read; done;"
        f" kill -9 {pids} && echo killed; {attach}",
        hosted=hosted,
    )

    assert SECRET not in said
    assert not {"read", "killed", "attached"} & set(said.split())
    assert house.run("echo alive")[2] == "alive\n"


def test_what_breaks_out_as_the_servers_own_user_still_reads_no_memory_of_it(house: House) -> None:
    """The worker's environment holds the key; the runner's holds nothing, but passes files of everybody on."""
    looks = """
import sys
for pid in sys.argv[1:]:
    for file in ("environ", "mem"):
        try:
            open(f"/proc/{pid}/{file}", "rb").close()
            print("opened", pid, file)
        except PermissionError:
            print("refused")
"""
    if not house.someone.prefix:
        pytest.skip("the processes of this test would be told apart by nothing but their own wish")

    assert house.someone.run(looks, str(house.worker.pid), str(house.runner_pid)).split() == ["refused"] * 4


@both
def test_sockets_of_the_server_are_not_there(house: House, hosted: bool) -> None:
    folder = house.home / "run"
    folder.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        path = f"/proc/self/fd/{os.open(folder, os.O_PATH)}/redis.sock"  # the path of a socket must be short
        listener.bind(path)
        listener.listen()
        try:
            _, _, said = house.run(
                f"test -e {folder}/redis.sock && echo there; ls /run | wc -l; ls -A {house.home} | grep -v workspaces;"
                " find / -xdev -type s 2>/dev/null | grep -v ^/proc",
                hosted=hosted,
            )
        finally:
            os.unlink(path)

    assert said.split() == ["0"]


def test_there_is_no_network_to_speak_of_without_network_access(house: House) -> None:
    _, _, said = house.run(
        "for to in 169.254.169.254/80 127.0.0.1/6379 127.0.0.1/5432 1.1.1.1/53; do"
        ' timeout 3 bash -c "exec 3<>/dev/tcp/$to" 2>/dev/null && echo in; done;'
        " getent hosts example.com && echo resolved; tail -n +3 /proc/net/dev | cut -d: -f1"
    )

    assert said.split() == ["lo"]


@both
def test_links_lead_nowhere_and_devices_cannot_be_made(house: House, hosted: bool) -> None:
    _, _, said = house.run(
        "ln ../../other/thread/secret hard && echo linked; ln /etc/passwd hard2 && echo linked;"
        f" ln -s {house.home}/config.toml soft; cat soft; mknod disk b 8 0 && echo made; ls /dev",
        hosted=hosted,
    )

    assert SECRET not in said
    assert not {"linked", "made", "sda", "vda", "mem", "kmsg"} & set(said.split())


def test_a_setuid_program_gains_nothing(house: House) -> None:
    _, _, said = house.run(
        "cp /usr/bin/id own; chmod u+s own; ./own -u; grep NoNewPrivs /proc/self/status; chown 0 own && echo changed"
    )

    assert said.split("\n")[0] not in ("", "0")
    assert "NoNewPrivs:\t1" in said
    assert "changed" not in said


def test_a_command_that_fills_the_disk_is_ended_and_what_it_wrote_can_be_deleted(house: House) -> None:
    quota = (8 << 20, 0)
    fill = "mkdir -p a/b; for i in $(seq 200); do head -c 1M /dev/urandom > a/b/$i; sleep 0.02; done; chmod 0 a/b"

    exit_code, stopped_by, _ = house.run(f"{fill}; sleep 60", quota=quota, wall_seconds=30)

    assert exit_code != 0
    assert stopped_by is not None
    assert "limit of its workspace, 8 MiB" in stopped_by
    assert house.run("chmod 700 a/b; rm -r a; echo gone", quota=quota) == (0, None, "gone\n")


def test_a_command_that_hides_what_it_writes_is_ended_all_the_same(house: House) -> None:
    hide = "mkdir h; cd h; mkdir d; for i in $(seq 30); do head -c 1M /dev/urandom > d/$i; done; chmod 0 d; sleep 1"
    more = "mkdir e; for i in $(seq 30); do head -c 1M /dev/urandom > e/$i; done; chmod 0 e; sleep 60"

    _, stopped_by, _ = house.run(f"{hide}; {more}", quota=(8 << 20, 0), wall_seconds=30)

    assert "limit of its workspace" in str(stopped_by)
    house.run("chmod -R 700 h; rm -r h")


def test_a_command_that_makes_too_many_files_is_ended(house: House) -> None:
    _, stopped_by, _ = house.run(
        "mkdir n; for i in $(seq 100000); do : > n/$i; done; sleep 60", quota=(0, 300), wall_seconds=30
    )

    assert "limit of its workspace, 300 files" in str(stopped_by)
    assert house.run("rm -r n")[0] == 0


def test_processes_that_are_too_much_only_together_are_ended(house: House) -> None:
    each = "x=$(head -c 40M /dev/zero | tr '\\0' x); sleep 60"

    _, stopped_by, _ = house.run(
        f"for i in 1 2 3 4; do ({each}) & done; wait", total_memory_bytes=120 << 20, wall_seconds=30
    )

    assert stopped_by == "its memory limit of 120 MiB"
    assert house.run("echo alive")[2] == "alive\n"


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
