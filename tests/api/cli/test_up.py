"""`threadhouse up` refuses what cannot work before it starts anything; the commands are quick to list."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

from shared.store import Store

ROOT = Path(__file__).parents[3]


def threadhouse(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("THREADHOUSE_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *arguments, "--home", str(home)],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_port_in_use_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        refused = threadhouse("up", "--port", str(port), home=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"threadhouse: port {port} of 127.0.0.1 is in use")
    assert refused.stdout == ""
    assert not (tmp_path / "redis").exists()


def test_an_address_of_another_machine_is_refused(tmp_path: Path) -> None:
    refused = threadhouse("up", "--host", "192.0.2.1", home=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr.startswith("threadhouse: cannot listen on 192.0.2.1 port 8765")


def test_a_second_up_on_one_home_is_told_who_has_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / "up.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)

        refused = threadhouse("up", home=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr == f"threadhouse: {tmp_path} is served already, by pid 4711: stop that one first\n"
    assert not (tmp_path / "redis").exists()


def test_a_wrong_configuration_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 'x'\n")

    for command in ("up", "web", "worker", "beat", "migrate", "doctor"):
        refused = threadhouse(command, home=tmp_path)

        assert refused.returncode == 1, command
        assert refused.stderr.startswith(f"threadhouse: {tmp_path}/config.toml: server.port: expected an integer")
        assert refused.stderr.count("\n") == 1


def test_migrate_makes_a_database_that_only_its_user_can_read(tmp_path: Path) -> None:
    assert threadhouse("migrate", home=tmp_path).returncode == 0

    assert (tmp_path / "threadhouse.sqlite3").stat().st_mode & 0o777 == 0o600


def test_doctor_says_what_is_missing_and_what_to_do(tmp_path: Path) -> None:
    threadhouse("migrate", home=tmp_path)

    examined = threadhouse("doctor", home=tmp_path).stdout

    assert "ok      redis: embedded, not running; `threadhouse up` starts it" in examined
    assert "ok      database: answers, schema up to date" in examined
    (tmp_path / "threadhouse.sqlite3").unlink()
    examined_again = threadhouse("doctor", home=tmp_path)
    assert (
        "failed  database: its schema is not that of this version: run `threadhouse migrate`" in examined_again.stdout
    )
    assert examined_again.returncode == 1


def test_listing_the_commands_loads_nothing_that_gevent_would_have_to_patch() -> None:
    program = (
        "import sys; from api.cli import commands\n"
        "commands(['--help'], standalone_mode=False)\n"
        "loaded = {'redis', 'sqlalchemy', 'urllib3', 'celery', 'flask', 'gevent'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )

    listed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (listed.returncode, listed.stderr) == (0, "")
    assert "up" in listed.stdout


def test_a_server_without_users_does_not_open_to_other_machines(tmp_path: Path) -> None:
    threadhouse("migrate", home=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    refused = threadhouse("web", "--host", "0.0.0.0", "--port", str(port), home=tmp_path)

    assert refused.returncode != 0
    assert "0.0.0.0 is not this machine alone, and there are no users yet" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_key_is_the_last_word_of_what_keys_create_prints(tmp_path: Path) -> None:
    threadhouse("migrate", home=tmp_path)

    assert threadhouse("keys", "create", "ada", home=tmp_path).stderr.startswith("threadhouse: no user 'ada'")
    assert threadhouse("users", "add", "ada", "--role", "admin", home=tmp_path).returncode == 0
    key = threadhouse("keys", "create", "ada", home=tmp_path).stdout.split()[-1]

    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    found = store.users.by_key(key)
    store.close()
    assert found is not None
    assert (found.user.name, found.user.role) == ("ada", "admin")
