"""A PostgreSQL primary and its synchronous replica, for failovers: the primary is killed and the replica promoted."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

import psycopg

from tests.support import postgres
from tests.support.postgres_cluster import ACCOUNT, LOCALE, reachable, start
from tests.support.wait import until

SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "replica",
}
DATABASE = "threadhouse"
Connection = psycopg.Connection[tuple[object, ...]]


class PostgresPair:
    """Two servers, each with a Unix socket in a folder of its own; a context manager.

    url: of the database on whichever of them is the primary, as SQLAlchemy and THREADHOUSE_DATABASE_URL expect it
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="threadhouse-pair-", dir="/tmp"))
        self._account = pwd.getpwnam(ACCOUNT) if os.geteuid() == 0 else None
        self._primary, self._replica = self._folder / "a", self._folder / "b"
        for folder in (self._folder, self._primary, self._replica):
            folder.mkdir(exist_ok=True)
            if self._account:
                os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        self._servers: dict[Path, subprocess.Popen[bytes]] = {}
        hosts = f"{self._primary},{self._replica}"
        self.url = f"postgresql+psycopg://postgres@/{DATABASE}?host={hosts}&target_session_attrs=read-write"

    def __enter__(self) -> PostgresPair:
        self._binaries = reachable(postgres.binaries(), self._folder, self._account)
        options = ("--username", "postgres", "--auth", "trust", "--encoding", "UTF8", "--locale", LOCALE, "--no-sync")
        self._run("initdb", "--pgdata", str(self._primary / "data"), *options)
        self._start(self._primary)
        with self._connect(self._primary) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}".encode())
        self.add_replica()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers.values():
            server.send_signal(signal.SIGQUIT)
        for server in self._servers.values():
            server.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def fail_over(self) -> None:
        """Kill the primary, and promote the replica. It has no replica of its own then: see `add_replica`."""
        server = self._servers.pop(self._primary)
        server.send_signal(signal.SIGQUIT)  # an immediate shutdown: nothing is flushed, and connections break
        server.wait(30)
        self._primary, self._replica = self._replica, self._primary
        with self._connect(self._primary) as connection:
            connection.execute("SELECT pg_promote(true, 60)")

    def add_replica(self) -> None:
        """Make the other server a new replica, and let each commit wait until it has reached it."""
        data = self._replica / "data"
        shutil.rmtree(data, ignore_errors=True)
        backup = ("--pgdata", str(data), "--write-recovery-conf", "--checkpoint", "fast", "--no-sync")
        self._run("pg_basebackup", "--dbname", f"host={self._primary} user=postgres", *backup)
        self._start(self._replica)
        with self._connect(self._primary) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")  # not part of the base backup
            connection.execute("SELECT pg_reload_conf()")
            until(lambda: connection.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchone())

    def _connect(self, host: Path) -> Connection:
        return psycopg.connect(f"postgresql://postgres@/postgres?host={host}", autocommit=True)

    def _start(self, host: Path) -> None:
        words = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        program = [str(self._binaries / "postgres"), "-D", str(host / "data"), "-k", str(host), *words]
        server = self._servers[host] = start(program, self._folder, self._account)

        def answers() -> bool:
            assert server.poll() is None, "PostgreSQL did not start"
            try:
                self._connect(host).close()
            except psycopg.OperationalError:
                return False
            return True

        until(answers)

    def _run(self, program: str, *arguments: str) -> None:
        ran = start([str(self._binaries / program), *arguments], self._folder, self._account)
        assert ran.wait(120) == 0, f"{program} failed"
