"""The database: SQLite in write-ahead mode embedded, Postgres by psycopg in a deployment.

On SQLite a transaction says what it is at its start (BEGIN, or BEGIN IMMEDIATE to write), so that no two can block each
other half way. On Postgres rows are locked where a decision hangs on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import ColumnElement, Connection, Engine, create_engine, event, func, literal_column
from sqlalchemy.engine import make_url

from shared.errors import ConfigError

POOL_SIZE = 20  # connections of one process; a turn holds one only while it reads or decides
BUSY_TIMEOUT_MS = 20_000
MMAP_BYTES = 1 << 28  # of SQLite's file: a search reads a whole index, of which little fits a connection's cache
IDLE_IN_TRANSACTION_MS = 5_000  # no transaction of ours waits for anything but the database
CLAIM_LOCK = 0x7468_7265_6164  # advisory lock that makes caps and fairness of claims exact
BUDGET_LOCK = 0x7468_7262  # class of the advisory locks, one a user, that make token budgets exact


class Database:
    """One engine, and the two kinds of transaction."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {
            "pool_size": POOL_SIZE,
            "max_overflow": 0,
            "hide_parameters": True,  # of statements, in errors that are logged: they are what users said
        }
        if self.is_sqlite:
            if parsed.database is None or parsed.database == ":memory:":
                raise ConfigError("database: SQLite needs a file, such as sqlite:///threadhouse.sqlite3")
            options["connect_args"] = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_MS / 1000}
        else:
            options["pool_pre_ping"] = True
        self.engine = create_engine(parsed, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "connect", _prepare_postgres)
        self._writer: Engine = self.engine.execution_options(begin="BEGIN IMMEDIATE")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that may change something; on SQLite it holds the write lock from its start."""
        with self._writer.begin() as connection:
            yield connection

    def now_ms(self) -> ColumnElement[int]:
        """The database's clock, in Unix milliseconds: leases are compared with this one only."""
        if self.is_sqlite:
            return literal_column("CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)")
        return literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")

    def lock_claims(self, connection: Connection) -> None:
        """Let one claim at a time decide. SQLite's write transaction is that lock already."""
        if not self.is_sqlite:
            connection.execute(func.pg_advisory_xact_lock(CLAIM_LOCK).select())

    def lock_budget(self, connection: Connection, owner: str) -> None:
        """Let one reservation of a user's tokens at a time decide. SQLite's write transaction is that lock already."""
        if not self.is_sqlite:
            connection.execute(func.pg_advisory_xact_lock(BUDGET_LOCK, func.hashtext(owner)).select())

    def close(self) -> None:
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
    cursor.close()


def _prepare_postgres(connection: Any, _record: Any) -> None:
    """A process that stands still, or is cut off, in mid-transaction must not keep others from rows that it locked."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {IDLE_IN_TRANSACTION_MS}")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def migrate(url: str) -> None:
    """Bring the database to the newest schema step; harmless when it is there already."""
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(__file__).parent / "schema"))
    config.attributes["url"] = url
    command.upgrade(config, "head")


def schema_is_current(url: str) -> bool:
    """Whether the database stands at the newest step."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    database = Database(url)
    try:
        with database.read() as connection:
            now = MigrationContext.configure(connection).get_current_revision()
        return now == ScriptDirectory(str(Path(__file__).parent / "schema")).get_current_head()
    finally:
        database.close()
