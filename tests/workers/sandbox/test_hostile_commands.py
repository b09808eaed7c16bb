"""What hostile commands try, run by a worker that is not root."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator

import pytest

from shared.errors import ToolError
from tests.support.processes import is_running
from tests.support.sandboxed_worker import Backend, backend_of
from tests.support.unprivileged import unprivileged
from tests.support.wait import until
from workers.sandbox import files

PLENTY_SECONDS = 100  # a time limit that no command of these tests reaches
SECRET = "sk-" + secrets.token_hex(8)
PTRACE = {"x86_64": 101}.get(os.uname().machine, 117)  # number of the system call


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    with backend_of(SECRET) as backend:
        yield backend


both = pytest.mark.parametrize("hosted", [True, False], ids=["hosted", "local"])


@both
def test_command_works_in_its_workspace(backend: Backend, hosted: bool) -> None:
    exit_code, _, output = backend.run("echo text > file && cat file && pwd && id -u", hosted=hosted)

    assert exit_code == 0, output
    assert output.split()[:2] == ["text", str(backend.workspace)]
    assert output.split()[2] != "0"
    assert (backend.workspace / "file").read_text() == "text\n"


@both
def test_other_workspaces_and_the_configuration_cannot_be_read(backend: Backend, hosted: bool) -> None:
    exit_code, _, output = backend.run(
        "cat ../../other/thread/secret ../../../config.toml; ls -a ../.. ../../..; ln -sf ../../other/thread away;"
        " cat away/secret; grep -rs sk- ../../.. && echo found",
        hosted=hosted,
    )

    assert exit_code == 1
    assert SECRET not in output
    assert "other" not in output.replace("../../other", "")
    assert "found" not in output
    with pytest.raises(ToolError, match="leads out"):
        files.read_bytes(backend.workspace, "away/secret", 1000)


@both
def test_no_environment_contains_the_servers_secrets(backend: Backend, hosted: bool) -> None:
    exit_code, _, output = backend.run("env; cat /proc/1/environ /proc/*/environ | tr '\\0' '\\n'", hosted=hosted)

    assert "LC_ALL=C.UTF-8" in output
    assert exit_code == 0
    assert SECRET not in output
    assert "PYTHONPATH" not in output


def test_other_processes_of_the_host_are_invisible(backend: Backend) -> None:
    _, _, output = backend.run("ls -d /proc/[0-9]* | wc -l; kill -9 -1; echo unreached")

    assert int(output.split()[0]) <= 5
    assert backend.run("echo alive")[2] == "alive\n"


def test_loopback_is_reachable_only_with_network_access(backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        knock = f"exec 3<>/dev/tcp/127.0.0.1/{listener.getsockname()[1]} && echo in"

        assert backend.run(knock)[0] != 0
        assert backend.run(knock, network=True) == (0, None, "in\n")


@both
def test_nothing_outside_of_the_workspace_can_be_written(backend: Backend, hosted: bool) -> None:
    tries = "/x /etc/x /usr/x /dev/x /run/x /proc/sys/kernel/x ../x ../../other/thread/x ../../../x /var/tmp/x"
    _, _, output = backend.run(f"for path in {tries}; do touch $path && echo wrote $path; done", hosted=hosted)

    assert "wrote" not in output
    assert not (backend.home / "x").exists()


def test_read_only_command_writes_only_its_own_tmp_which_ends_with_it(backend: Backend) -> None:
    _, _, output = backend.run("touch x && echo wrote; echo kept > /tmp/x; cat /tmp/x", kind="readOnly", hosted=False)
    assert "wrote" not in output
    assert output.startswith("kept")

    assert backend.run("cat /tmp/x", kind="readOnly", hosted=False)[0] == 1


def test_size_of_folders_in_memory_is_limited(backend: Backend) -> None:
    exit_code, _, output = backend.run("head -c 70M /dev/zero > /dev/shm/x; df /tmp | tail -1 | awk '{print $2}'")

    assert "No space left" in output
    assert int(output.split()[0]) <= 256 << 10
    assert exit_code == 0


def test_fork_bomb_affects_only_itself(backend: Backend) -> None:
    exit_code, stopped_by, output = backend.run(
        "bomb() { bomb | bomb & }; bomb; sleep 60", processes=40, wall_seconds=4
    )

    assert stopped_by == "time limit"
    assert exit_code != 0
    assert "Resource temporarily unavailable" in output
    assert backend.run("echo alive")[2] == "alive\n"


def test_commands_at_their_process_limit_do_not_block_each_other(backend: Backend) -> None:
    crowd = "for i in $(seq 30); do sleep 60 & done; jobs -p | wc -l; kill $(jobs -p)"

    assert backend.run(crowd, processes=40)[2].split()[0] == "30"
    assert "Resource temporarily unavailable" in backend.run(crowd, processes=20, wall_seconds=6)[2]


def test_endless_output_is_cut_and_counted(backend: Backend) -> None:
    exit_code, stopped_by, output = backend.run("yes", output_bytes=10_000, wall_seconds=3)

    assert stopped_by == "time limit"
    assert "bytes of output left out" in output
    assert len(output) < 10_100
    assert exit_code != 0


def test_daemonized_child_ends_with_the_command(backend: Backend) -> None:
    seconds = f"9{secrets.randbelow(10**8)}"
    escape = f"(setsid setsid nohup sleep {seconds} >/dev/null 2>&1 &) ; until pgrep -f 'sleep {seconds}'; do :; done"

    assert backend.run(f"{escape}; exit 7")[0] == 7
    assert not is_running(seconds)


def test_limits_of_file_size_and_memory_are_enforced(backend: Backend) -> None:
    exit_code, _, _ = backend.run("head -c 2M /dev/zero > big", file_size_bytes=1 << 20)
    assert exit_code == 128 + 25  # SIGXFSZ
    assert (backend.workspace / "big").stat().st_size == 1 << 20

    _, _, output = backend.run("head -c 200M /dev/zero | tail -c 200M | wc -c", memory_bytes=50 << 20)
    assert "memory exhausted" in output


def test_command_has_no_capabilities_and_cannot_make_namespaces(backend: Backend) -> None:
    _, _, output = backend.run("grep CapEff /proc/self/status; unshare -Ur true && echo nested; mount -t tmpfs x /tmp")

    assert "CapEff:\t0000000000000000" in output
    assert "nested" not in output


@both
def test_processes_of_the_server_cannot_be_reached(backend: Backend, hosted: bool) -> None:
    pids = f"{backend.worker.pid} {backend.runner_pid}"
    attach = f"perl -e 'exit(syscall({PTRACE}, 16, $_, 0, 0) == 0) for @ARGV' {pids} || echo attached"
    _, _, output = backend.run(
        f"for pid in {pids} 1; do cat /proc/$pid/environ; head -c 99 /proc/$pid/mem && echo read; done;"
        f" kill -9 {pids} && echo killed; {attach}",
        hosted=hosted,
    )

    assert SECRET not in output
    assert not {"read", "killed", "attached"} & set(output.split())
    assert backend.run("echo alive")[2] == "alive\n"


def test_process_of_the_servers_user_cannot_read_the_servers_memory(backend: Backend) -> None:
    """The worker's environment contains the key; the runner's contains nothing, but it handles files of all users."""
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
    if not backend.someone.prefix:
        pytest.skip("without another user, only the processes' own settings would separate them")

    assert backend.someone.run(looks, str(backend.worker.pid), str(backend.runner_pid)).split() == ["refused"] * 4


@both
def test_sockets_of_the_server_are_invisible(backend: Backend, hosted: bool) -> None:
    folder = backend.home / "run"
    folder.mkdir(exist_ok=True)
    find_sockets = "find / -xdev -type s 2>/dev/null | grep -v ^/proc"
    with socket.socket(socket.AF_UNIX) as listener:
        path = f"/proc/self/fd/{os.open(folder, os.O_PATH)}/redis.sock"  # the path of a socket must be short
        listener.bind(path)
        listener.listen()
        try:
            _, _, output = backend.run(
                f"test -e {folder}/redis.sock && echo there; ls /run | wc -l; ls -A {backend.home}"
                f" | grep -v workspaces; {find_sockets}",
                hosted=hosted,
            )
        finally:
            os.unlink(path)
    beside = subprocess.run(["sh", "-c", find_sockets], stdout=subprocess.PIPE, text=True, check=False).stdout.split()

    first, *found = output.split()
    assert first == "0"
    # A command of the local user sees the machine's files, and so the sockets of other programs in them.
    assert set(found) <= ({one for one in beside if not one.startswith(f"{backend.home}/")} if not hosted else set())


def test_no_network_without_network_access(backend: Backend) -> None:
    _, _, output = backend.run(
        "for to in 169.254.169.254/80 127.0.0.1/6379 127.0.0.1/5432 1.1.1.1/53; do"
        ' timeout 3 bash -c "exec 3<>/dev/tcp/$to" 2>/dev/null && echo in; done;'
        " getent hosts example.com && echo resolved; tail -n +3 /proc/net/dev | cut -d: -f1"
    )

    assert output.split() == ["lo"]


@both
def test_links_do_not_leave_the_sandbox_and_devices_cannot_be_made(backend: Backend, hosted: bool) -> None:
    _, _, output = backend.run(
        "ln ../../other/thread/secret hard && echo linked; ln /etc/passwd hard2 && echo linked;"
        f" ln -s {backend.home}/config.toml soft; cat soft; mknod disk b 8 0 && echo made; ls /dev",
        hosted=hosted,
    )

    assert SECRET not in output
    assert not {"linked", "made", "sda", "vda", "mem", "kmsg"} & set(output.split())


def test_setuid_program_gains_no_privileges(backend: Backend) -> None:
    _, _, output = backend.run(
        "cp /usr/bin/id own; chmod u+s own; ./own -u; grep NoNewPrivs /proc/self/status; chown 0 own && echo changed"
    )

    assert output.split("\n")[0] not in ("", "0")
    assert "NoNewPrivs:\t1" in output
    assert "changed" not in output


def test_command_that_exceeds_the_disk_quota_is_ended_and_its_files_can_be_deleted(backend: Backend) -> None:
    quota = (8 << 20, 0)
    fill = "mkdir -p a/b; for i in $(seq 200); do head -c 1M /dev/urandom > a/b/$i; sleep 0.02; done; chmod 0 a/b"

    exit_code, stopped_by, _ = backend.run(f"{fill}; sleep 600", quota=quota, wall_seconds=PLENTY_SECONDS)

    assert exit_code != 0
    assert stopped_by is not None
    assert "limit of its workspace, 8 MiB" in stopped_by
    assert backend.run("chmod 700 a/b; rm -r a; echo gone", quota=quota) == (0, None, "gone\n")


def test_quota_counts_files_in_unreadable_folders(backend: Backend) -> None:
    hide = "mkdir h; cd h; mkdir d; for i in $(seq 30); do head -c 1M /dev/urandom > d/$i; done; chmod 0 d; sleep 1"
    more = "mkdir e; for i in $(seq 30); do head -c 1M /dev/urandom > e/$i; done; chmod 0 e; sleep 600"

    _, stopped_by, _ = backend.run(f"{hide}; {more}", quota=(8 << 20, 0), wall_seconds=PLENTY_SECONDS)

    assert "limit of its workspace" in str(stopped_by)
    backend.run("chmod -R 700 h; rm -r h")


def test_command_that_exceeds_the_file_quota_is_ended(backend: Backend) -> None:
    _, stopped_by, _ = backend.run(
        "mkdir n; for i in $(seq 100000); do : > n/$i; done; sleep 600", quota=(0, 300), wall_seconds=PLENTY_SECONDS
    )

    assert "limit of its workspace, 300 files" in str(stopped_by)
    assert backend.run("rm -r n")[0] == 0


def test_memory_limit_counts_all_processes_of_a_command_together(backend: Backend) -> None:
    # The shell would replace itself, and free its memory, by a last command without `:`.
    each = "x=$(head -c 40M /dev/zero | tr '\\0' x); sleep 600; :"

    _, stopped_by, output = backend.run(
        f"for i in 1 2 3 4; do ({each}) & done; wait", total_memory_bytes=120 << 20, wall_seconds=PLENTY_SECONDS
    )

    assert stopped_by == "its memory limit of 120 MiB", output
    assert backend.run("echo alive")[2] == "alive\n"


LONE = """
import sys
from pathlib import Path
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process

folder = Path.cwd() / "lone"
folder.mkdir(exist_ok=True)
policy = SandboxPolicy.from_wire({"type": sys.argv[1]}, folder, hidden=[])
command = ["/bin/bash", "-c", f"(setsid sleep {sys.argv[2]} &); echo up; exec sleep {sys.argv[2]}"]
spec = CommandSpec(argv=command, cwd=folder, policy=policy, limits=CommandLimits())
Process(spec, on_output=lambda text: print(text, flush=True))
sys.stdin.read()
"""


@pytest.mark.parametrize("kind", ["workspaceWrite", "dangerFullAccess"])
def test_commands_end_with_a_killed_worker(kind: str) -> None:
    seconds = f"9{secrets.randbelow(10**8)}"
    with unprivileged() as someone, someone.start(LONE, kind, seconds) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "up\n"
        assert is_running(seconds)

        worker.kill()

        until(lambda: not is_running(seconds))
