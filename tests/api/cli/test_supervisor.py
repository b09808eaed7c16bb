"""The supervisor and the embedded Redis, as real processes that are started, killed and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from api.cli import embedded_redis
from api.cli.supervisor import MAX_LOG_BYTES
from shared.config import MAX_SOCKET_PATH_BYTES, embedded_redis_url
from shared.errors import ConfigError
from tests.support import wait
from tests.support.wait import DEADLINE_SECONDS

# Prints the pid of its child, and "stopped" when the child has ended.
PROGRAM = """
import sys
from pathlib import Path
from api.cli import embedded_redis
from api.cli.supervisor import Supervisor, say

home = Path(sys.argv[1])
with Supervisor(home, ("child", "redis"), say) as supervisor:
    if sys.argv[2] == "redis":
        child = supervisor.start("redis", embedded_redis.command(home), stop_seconds=60)
        supervisor.wait_until_ready(child, lambda: embedded_redis.answers(home), seconds=60)
    else:
        child = supervisor.start("child", ["/bin/sh", "-c", sys.argv[2]], stop_seconds=60)
        supervisor.wait_until_ready(child, (home / "ready").exists, seconds=60)
    say(f"{child.pid}")
    supervisor.supervise(until=lambda: False)
say("stopped")
"""


class Supervised:
    """PROGRAM as a process, with its one child."""

    def __init__(self, home: Path, child: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(home), child],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert self.process.stdout is not None
        self.child_pid = int(self.process.stdout.readline() or 0)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[[str], Supervised]]:
    started: list[Supervised] = []

    def start(child: str) -> Supervised:
        started.append(Supervised(tmp_path, child))
        return started[-1]

    yield start
    for supervised in started:
        supervised.process.kill()
        supervised.process.communicate()


def is_running(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_redis_listens_only_on_a_socket_in_a_private_folder(
    tmp_path: Path, supervise: Callable[[str], Supervised]
) -> None:
    supervised = supervise("redis")

    assert embedded_redis.answers(tmp_path)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    listening = Path(f"/proc/{supervised.child_pid}/net/tcp").read_text().splitlines()
    inodes = set()
    for fd in Path(f"/proc/{supervised.child_pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            inodes.add(os.readlink(fd))
    assert not [line for line in listening[1:] if f"socket:[{line.split()[9]}]" in inodes]


def test_a_stop_signal_ends_redis_before_the_supervisor(tmp_path: Path, supervise: Callable[[str], Supervised]) -> None:
    supervised = supervise("redis")

    supervised.process.terminate()
    output, errors = supervised.process.communicate(timeout=DEADLINE_SECONDS)

    assert (output, errors, supervised.process.returncode) == ("stopped\n", "", 0)
    assert not is_running(supervised.child_pid)
    assert not embedded_redis.answers(tmp_path)


def test_kill_9_of_the_supervisor_ends_redis(tmp_path: Path, supervise: Callable[[str], Supervised]) -> None:
    supervised = supervise("redis")

    supervised.process.kill()

    wait.until(lambda: not is_running(supervised.child_pid))
    assert not embedded_redis.answers(tmp_path)


def test_a_killed_redis_is_restarted_with_its_data(tmp_path: Path, supervise: Callable[[str], Supervised]) -> None:
    supervised = supervise("redis")
    with redis.Redis.from_url(embedded_redis_url(tmp_path)) as client:
        client.set("key", "value")

        os.kill(supervised.child_pid, signal.SIGKILL)

        wait.until(lambda: not is_running(supervised.child_pid))
        wait.until(lambda: embedded_redis.answers(tmp_path))
        assert client.get("key") == b"value"
    assert supervised.process.stdout is not None
    assert supervised.process.stdout.readline().startswith("redis ended (signal 9); it starts again in 0.5 s")


def test_redis_serves_a_home_whose_path_is_too_long_for_a_socket(tmp_path: Path) -> None:
    home = tmp_path / ("x" * MAX_SOCKET_PATH_BYTES)
    home.mkdir()

    server = subprocess.Popen(embedded_redis.command(home), stdout=subprocess.DEVNULL)

    try:
        wait.until(lambda: embedded_redis.answers(home))
        assert embedded_redis.socket_path(home).parent.stat().st_mode & 0o777 == 0o700
    finally:
        server.terminate()
        server.wait()
        embedded_redis.socket_path(home).parent.rmdir()


def test_redis_refuses_a_socket_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to("/tmp")

    with pytest.raises(ConfigError, match="expected a folder of user"):
        embedded_redis.command(tmp_path)


def test_a_second_stop_signal_kills_a_child_that_ignores_sigterm(
    tmp_path: Path, supervise: Callable[[str], Supervised]
) -> None:
    stubborn = f'trap "touch {tmp_path}/asked" TERM; touch {tmp_path}/ready; while :; do read x < {tmp_path}/pipe; done'
    os.mkfifo(tmp_path / "pipe")
    supervised = supervise(stubborn)

    supervised.process.terminate()
    wait.until((tmp_path / "asked").exists)
    assert is_running(supervised.child_pid)
    supervised.process.send_signal(signal.SIGINT)
    output, _ = supervised.process.communicate(timeout=DEADLINE_SECONDS)

    assert output == "stopped\n"
    assert not is_running(supervised.child_pid)


def test_a_child_that_fails_to_start_is_reported_with_the_end_of_its_log(
    supervise: Callable[[str], Supervised],
) -> None:
    supervised = supervise("echo what went wrong >&2; exit 3")
    _, errors = supervised.process.communicate(timeout=DEADLINE_SECONDS)

    assert "child ended (exit code 3)" in errors
    assert "    what went wrong" in errors


def test_the_log_of_the_previous_run_is_kept(tmp_path: Path, supervise: Callable[[str], Supervised]) -> None:
    for word in ("first", "second"):
        supervised = supervise(f"echo {word}; touch {tmp_path}/ready; exec cat /dev/zero > /dev/null")
        supervised.process.terminate()
        supervised.process.communicate(timeout=DEADLINE_SECONDS)
        (tmp_path / "ready").unlink()

    assert (tmp_path / "child.log.1").read_text() == "first\n"
    assert (tmp_path / "child.log").read_text() == "second\n"


def test_a_long_log_is_moved_while_its_child_writes_on(tmp_path: Path, supervise: Callable[[str], Supervised]) -> None:
    log, earlier = tmp_path / "child.log", tmp_path / "child.log.1"
    fill = f"echo first; head -c {MAX_LOG_BYTES} /dev/zero; touch {tmp_path}/ready"
    supervise(f"{fill}; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo after; exec sleep 600")

    wait.until(lambda: earlier.exists() and log.stat().st_size == 0)
    (tmp_path / "go").touch()

    wait.until(lambda: log.read_bytes() == b"after\n")
    assert earlier.stat().st_size > MAX_LOG_BYTES


def test_a_child_whose_log_is_removed_runs_on(tmp_path: Path, supervise: Callable[[str], Supervised]) -> None:
    supervised = supervise(f"touch {tmp_path}/ready; exec sleep 600")
    (tmp_path / "child.log").unlink()
    # It restarts a child that ends, as long as it supervises.
    os.kill(supervised.child_pid, signal.SIGKILL)

    wait.until(lambda: (tmp_path / "child.log").exists())
    assert supervised.process.poll() is None
