"""The database connection: SQLite in write-ahead mode when embedded, Postgres through psycopg in a deployment.

On SQLite a transaction declares at its start whether it writes (BEGIN IMMEDIATE) or only reads (BEGIN), so that no two
transactions can block each other half way. On Postgres the rows that a decision depends on are locked.

Those who wait for SQLite's write lock sleep, for up to 100 ms, and whoever asks at the right moment gets it. So the
writers of a process wait in a queue, and only the first of them asks SQLite.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Connection, create_engine, event, func, literal_column
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, TimeoutError

from shared.errors import ConfigError
from shared.store.outages import READ_ONLY, OutcomeUnknown
from shared.store.pool import FairPool, Places

POOL_SIZE = 20  # connections of one process; a turn holds one only while it reads or decides
POOL_SECONDS = 10.0  # for which a full pool is waited for while no connection comes back
ANSWER_SECONDS = 20.0  # for which Postgres may be silent while it owes an answer; more than a statement may take
# For which SQLite's write lock is waited for, and for which those who wait for it may see nobody leave. A writer may
# wait for both; a claim that takes longer than the authority that a lease gives is lost as soon as it is made.
BUSY_TIMEOUT_SECONDS = 10.0
MMAP_BYTES = 1 << 28  # of SQLite's file: a search reads a whole index, which is larger than a connection's cache
CLAIM_LOCK = 0x7468_7265_6164  # advisory lock that makes caps and fairness of claims exact
BUDGET_LOCK = 0x7468_7262  # class of the advisory locks, one a user, that make token budgets exact

# Execution options of a statement whose outcome nobody looks at. Postgres is not waited for: an error of the statement
# is that of the next one that is not deferred, or of COMMIT. The last statement before the end of a savepoint must not
# be deferred: SQLAlchemy undoes no savepoint whose release fails.
DEFERRED = {"deferred": True}


class Database:
    """One engine, and the two kinds of transaction: `read` and `write`.

    answer_seconds: for which Postgres may be silent while it owes an answer (shared.store.postgres)
    writes_first:   on SQLite, before others of this process that wait to write
    engine_options: more of those of sqlalchemy.create_engine
    """

    def __init__(
        self,
        url: str,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        writes_first: bool = False,
        **engine_options: Any,
    ) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {
            "poolclass": FairPool,
            "pool_size": POOL_SIZE,
            "max_overflow": 0,
            "pool_timeout": BUSY_TIMEOUT_SECONDS if self.is_sqlite else POOL_SECONDS,
            "hide_parameters": True,  # of statements in logged errors: they hold what users wrote
        }
        if self.is_sqlite:
            if parsed.database is None or parsed.database == ":memory:":
                raise ConfigError("database: SQLite needs a file, such as sqlite:///threadhouse.sqlite3")
            options["connect_args"] = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_SECONDS}
        else:
            from shared.store import postgres  # imported late: with SQLite the driver is not needed

            options["creator"] = postgres.connector(parsed, answer_seconds)
            options["use_native_hstore"] = False  # it would be asked for with the first connection
        options |= engine_options
        self.engine = create_engine(parsed, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
        else:
            postgres.listen_to(self.engine)
        self._writers = _writers_of(str(parsed.database)) if self.is_sqlite else None
        self._writes_first = writes_first
        self._stall_seconds: float = options["pool_timeout"]
        # No listener of statements or transactions: with one, SQLAlchemy looks for more around every statement.
        self._begin_write = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN"

    def set_option(self, name: str, value: object) -> None:
        """Set an execution option of every connection, for functions that get only a connection."""
        self.engine.update_execution_options(**{name: value})

    @contextmanager
    def read(self, *, in_transaction: bool = False) -> Iterator[Connection]:
        """Give a connection to what changes nothing. On SQLite all of its statements see the same state.

        in_transaction: on Postgres too: for SET LOCAL. Otherwise each of its statements sees what is committed at its
                        start, so that a transaction around reads would add nothing to them but a round trip
        """
        with self.engine.begin() as connection:
            if self.is_sqlite or in_transaction:
                connection.exec_driver_sql("BEGIN", execution_options=DEFERRED)
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that may change something; on SQLite it holds the write lock from its start.

        Errors: OutcomeUnknown: the connection was lost during COMMIT
        """
        with self.turn_to_write(), self._transaction() as connection:
            yield connection

    @contextmanager
    def turn_to_write(self) -> Iterator[None]:
        """Wait, without a connection, until this process has no other writer of the SQLite file.

        Errors: sqlalchemy.exc.TimeoutError
        """
        writers = self._writers
        if writers is None:
            yield
            return
        if not writers.enter(self._stall_seconds, goes_first=self._writes_first):
            raise TimeoutError("too many changes wait for the database, and none came to its end in time", code="3o7r")
        try:
            yield
        finally:
            writers.leave()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        committing = False
        try:
            with self.engine.begin() as connection:
                connection.exec_driver_sql(self._begin_write, execution_options=DEFERRED)
                yield connection
                committing = True
        except DBAPIError as error:
            # A server that answers with an error has not committed; one that goes away may have.
            if committing and error.connection_invalidated and getattr(error.orig, "sqlstate", None) != READ_ONLY:
                raise OutcomeUnknown(None, None, error.orig or error, connection_invalidated=True) from error
            raise

    def now_ms(self) -> ColumnElement[int]:
        """Return an expression for the database's clock, in Unix ms: leases are compared with this clock only."""
        if self.is_sqlite:
            return literal_column("CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)")
        return literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)")

    def lock_claims(self, connection: Connection) -> None:
        """Let one claim at a time select a turn. On SQLite the write transaction is that lock."""
        if not self.is_sqlite:
            connection.execute(func.pg_advisory_xact_lock(CLAIM_LOCK).select(), execution_options=DEFERRED)

    def lock_budget(self, connection: Connection, owner: str) -> None:
        """Let one reservation of a user's tokens at a time be made; on SQLite the write transaction is that lock."""
        if not self.is_sqlite:
            locked = func.pg_advisory_xact_lock(BUDGET_LOCK, func.hashtext(owner)).select()
            connection.execute(locked, execution_options=DEFERRED)

    def close(self) -> None:
        self.engine.dispose()


@functools.cache
def _writers_of(_file: str) -> Places:
    """Return the one place for those of this process that write to a SQLite file."""
    return Places(1)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # this module sends BEGIN itself
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
    cursor.close()
