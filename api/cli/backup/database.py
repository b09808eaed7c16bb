"""The snapshot of the database, and how it is restored: SQLite's online backup, or pg_dump and pg_restore.

The password goes to the programs of Postgres through their environment, which other users cannot read; a URL with
another secret, for which libpq has no variable, is refused.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, delete, func, inspect, select, text
from sqlalchemy.engine import make_url

from shared.config import Config
from shared.errors import BackupError
from shared.store.connection import Database
from shared.store.tables import metadata, threads, users, workers
from shared.store.workers import read_workers

BUSY_SECONDS = 60.0
END_SECONDS = 5.0  # until the server has ended a session whose client is gone
POLL_SECONDS = 0.05
SECRETS = ("password", "secret", "scram_")  # parts of the names of libpq's options that nobody else may read
SESSIONS = text(  # who may not see what others do sees their user, and processes of the server have none
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND usesysid IS NOT NULL AND coalesce(backend_type, 'client backend') = 'client backend'"
)
PROGRAMS = (
    "install the client programs of PostgreSQL (Debian: postgresql-client), of the server's version or a newer one"
)


def kind(config: Config) -> str:
    return "sqlite" if config.database_url.startswith("sqlite:") else "postgres"


def sqlite_file(config: Config) -> Path:
    return Path(make_url(config.database_url).database or "")


def dump(config: Config, target: Path) -> None:
    """Write the database as it is at one moment to a new file, while the server runs. Errors: BackupError."""
    if kind(config) == "postgres":
        address, environ = _connection(config)
        _run(["pg_dump", "--format=custom", "--no-password", f"--file={target}", f"--dbname={address}"], environ)
        return
    source = f"file:{quote(str(sqlite_file(config)))}?mode=rw"
    try:
        with (
            closing(sqlite3.connect(source, BUSY_SECONDS, uri=True)) as opened,
            closing(sqlite3.connect(target)) as written,
        ):
            opened.backup(written)  # all pages in one step, which is one read transaction
            written.execute("PRAGMA journal_mode = DELETE")  # one file, without a write-ahead log beside it
    except sqlite3.Error as error:
        raise BackupError(f"{sqlite_file(config)}: cannot be backed up: {error}") from None


def require_programs(config: Config, name: str) -> None:
    """Errors: BackupError: a program of Postgres is missing, or cannot be given the database's URL."""
    if kind(config) != "postgres":
        return
    if shutil.which(name) is None:
        raise BackupError(f"{name} is not installed: {PROGRAMS}")
    _connection(config)


def require_alone(config: Config) -> None:
    """Errors: BackupError: somebody else uses the database. SQLite does not know who does."""
    if kind(config) != "postgres":
        return
    database = Database(config.database_url)
    deadline = time.monotonic() + END_SECONDS
    try:
        with database.read() as connection:
            while others := connection.scalar(SESSIONS):
                if time.monotonic() > deadline:
                    raise BackupError(
                        f"{others} other sessions use the database: stop all processes of the server first, and end "
                        "what else is connected (`SELECT * FROM pg_stat_activity` shows it)"
                    )
                time.sleep(POLL_SECONDS)
    finally:
        database.close()


def require_stopped(config: Config) -> None:
    """Errors: BackupError: a worker process uses the database."""
    if not _exists(config):
        return
    database = Database(config.database_url)
    try:
        with database.read() as connection:
            known = inspect(connection).has_table("workers")
            alive = [each for each in read_workers(connection, database) if not each.lost] if known else []
    finally:
        database.close()
    if alive:
        raise BackupError(
            f"the worker {alive[0].worker.name} uses the database: stop all processes of the server first "
            "(a worker that was killed counts for half a minute)"
        )


def count(config: Config) -> tuple[int, int]:
    """Return the number of users and of threads; a database that is not there has none."""
    if not _exists(config):
        return 0, 0
    database = Database(config.database_url)
    try:
        with database.read() as connection:
            return _count(connection)
    finally:
        database.close()


def forget_workers(config: Config) -> None:
    """Remove the reports of worker processes, which a restored database has from those of the old server."""
    database = Database(config.database_url)
    try:
        with database.write() as connection:
            connection.execute(delete(workers))
    finally:
        database.close()


def restore(config: Config, snapshot: Path) -> None:
    """Replace a database without users and threads by a snapshot, which is complete or not there at all.

    snapshot: a file whose content was checked. On SQLite it becomes the database.
    Errors:   BackupError
    """
    if kind(config) == "postgres":
        _restore_postgres(config, snapshot)
        return
    file = sqlite_file(config)
    try:
        with closing(sqlite3.connect(snapshot)) as opened:
            problem = opened.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.DatabaseError as error:
        problem = str(error)
    if problem != "ok":
        raise BackupError(f"the database of the backup is damaged ({problem}): use another backup")
    for suffix in ("-wal", "-shm"):  # of an empty database
        file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)
    os.replace(snapshot, file)


def _restore_postgres(config: Config, snapshot: Path) -> None:
    database = Database(config.database_url)
    try:
        with database.write() as connection:
            if any(_count(connection)):
                raise BackupError("the database has users or threads: restore into an empty one")
            metadata.drop_all(connection)
            connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    finally:
        database.close()
    address, environ = _connection(config)
    options = ["--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges", "--no-comments"]
    _run(["pg_restore", *options, "--no-password", f"--dbname={address}", str(snapshot)], environ)


def _exists(config: Config) -> bool:
    return kind(config) == "postgres" or sqlite_file(config).exists()


def _count(connection: Connection) -> tuple[int, int]:
    tables = inspect(connection)
    found = [
        connection.scalar(select(func.count()).select_from(table)) or 0 if tables.has_table(table.name) else 0
        for table in (users, threads)
    ]
    return found[0], found[1]


def _connection(config: Config) -> tuple[str, dict[str, str]]:
    """Return libpq's connection string without the password, and an environment with it.

    Errors: BackupError: the URL has another secret
    """
    from psycopg.conninfo import make_conninfo

    from shared.store.postgres import LIBPQ_OPTIONS

    url = make_url(config.database_url)
    params = {**LIBPQ_OPTIONS, **url.get_dialect()().create_connect_args(url)[1]}
    password = params.pop("password", None)
    for name in params:
        if any(part in name for part in SECRETS):
            raise BackupError(
                f"the database's URL has {name}, which others could read among the arguments of pg_dump and "
                "pg_restore: put it into a service of libpq (pg_service.conf), and service=NAME into the URL"
            )
    return make_conninfo(**params), {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}


def _run(words: list[str], environ: dict[str, str]) -> None:
    try:
        done = subprocess.run(words, env=environ, stdin=subprocess.DEVNULL, capture_output=True)
    except FileNotFoundError:
        raise BackupError(f"{words[0]} is not installed: {PROGRAMS}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise BackupError(f"{words[0]} failed (if the server is newer than it, {PROGRAMS}):\n{said}")
