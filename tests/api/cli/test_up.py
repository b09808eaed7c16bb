"""`threadhouse up` and other commands check their preconditions first; listing the commands is fast."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

from api.cli.host import SCHEMA_OUT_OF_DATE
from api.cli.web import UNACKNOWLEDGED_MS, drop_silent_peers
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


def test_connections_whose_client_reads_nothing_are_ended_by_the_kernel() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        drop_silent_peers(listener)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_MS
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


def test_up_refuses_a_port_in_use_before_it_starts_a_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        refused = threadhouse("up", "--port", str(port), home=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"threadhouse: port {port} of 127.0.0.1 is in use")
    assert refused.stdout == ""
    assert not (tmp_path / "redis").exists()


def test_up_refuses_an_address_of_another_machine(tmp_path: Path) -> None:
    refused = threadhouse("up", "--host", "192.0.2.1", home=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr.startswith("threadhouse: cannot listen on 192.0.2.1 port 8765")


def test_a_second_up_on_a_home_names_the_pid_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / "up.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)

        refused = threadhouse("up", home=tmp_path)

    assert refused.returncode == 1
    assert refused.stderr == f"threadhouse: {tmp_path} is in use by pid 4711: stop that process first\n"
    assert not (tmp_path / "redis").exists()


def test_an_invalid_configuration_is_one_line_on_stderr_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[server]\nport = 'x'\n")

    for command in ("up", "web", "worker", "beat", "migrate", "doctor"):
        refused = threadhouse(command, home=tmp_path)

        assert refused.returncode == 1, command
        assert refused.stderr.startswith(f"threadhouse: {tmp_path}/config.toml: server.port: expected an integer")
        assert refused.stderr.count("\n") == 1


def test_migrate_creates_a_database_that_only_its_user_can_read(tmp_path: Path) -> None:
    assert threadhouse("migrate", home=tmp_path).returncode == 0

    assert (tmp_path / "threadhouse.sqlite3").stat().st_mode & 0o777 == 0o600


def test_migrate_checks_the_schema_and_changes_nothing(tmp_path: Path) -> None:
    missing = threadhouse("migrate", "--check", home=tmp_path)

    assert (missing.returncode, missing.stderr) == (1, f"threadhouse: {SCHEMA_OUT_OF_DATE}\n")
    assert not (tmp_path / "threadhouse.sqlite3").exists()
    threadhouse("migrate", home=tmp_path)
    assert threadhouse("migrate", "--check", home=tmp_path).returncode == 0


def test_doctor_reports_an_outdated_schema_and_how_to_migrate(tmp_path: Path) -> None:
    threadhouse("migrate", home=tmp_path)

    examined = threadhouse("doctor", home=tmp_path).stdout

    assert "ok      redis: embedded, not running; `threadhouse up` starts it" in examined
    assert "ok      database: answers, schema up to date" in examined
    database = tmp_path / "threadhouse.sqlite3"
    database.unlink()
    assert "ok      database: SQLite, not created yet" in threadhouse("doctor", home=tmp_path).stdout
    assert not database.exists(), "the doctor creates no database"
    database.touch()
    examined_again = threadhouse("doctor", home=tmp_path)
    assert "failed  database: the schema is out of date: run `threadhouse migrate`" in examined_again.stdout
    assert examined_again.returncode == 1


def test_listing_the_commands_imports_nothing_that_gevent_patches() -> None:
    program = (
        "import sys; from api.cli import commands\n"
        "commands(['--help'], standalone_mode=False)\n"
        "loaded = {'redis', 'sqlalchemy', 'urllib3', 'celery', 'flask', 'gevent'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )

    listed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)

    assert (listed.returncode, listed.stderr) == (0, "")
    assert "up" in listed.stdout


def test_web_refuses_other_machines_as_long_as_there_are_no_users(tmp_path: Path) -> None:
    threadhouse("migrate", home=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    refused = threadhouse("web", "--host", "0.0.0.0", "--port", str(port), home=tmp_path)

    assert refused.returncode != 0
    assert "0.0.0.0 is reachable from other machines, and there are no users yet" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_keys_create_prints_the_key_as_its_last_word(tmp_path: Path) -> None:
    threadhouse("migrate", home=tmp_path)

    assert threadhouse("keys", "create", "ada", home=tmp_path).stderr.startswith("threadhouse: no user 'ada'")
    assert threadhouse("users", "add", "ada", "--role", "admin", home=tmp_path).returncode == 0
    key = threadhouse("keys", "create", "ada", home=tmp_path).stdout.split()[-1]

    store = Store(f"sqlite:///{tmp_path}/threadhouse.sqlite3")
    found = store.users.find_by_key(key)
    store.close()
    assert found is not None
    assert (found.user.name, found.user.role) == ("ada", "admin")
