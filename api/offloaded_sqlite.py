"""SQLite for a gevent process: what may take long runs in native threads, and only the calling greenlet waits.

SQLite waits for locks and for the disk without letting other greenlets run, so that one busy lock would stop the whole
process. The native threads run nothing but sqlite3's own C code and a loop around it. All other Python code stays in
the thread of the event loop, because it takes locks (of SQLAlchemy's pool and caches, of logging, telemetry and
imports) that are gevent's, and a lock of gevent that several native threads share loses wake-ups: its waiters would
wait for ever.

A call of a native thread costs a round of the event loop, which is long in a busy process, while a transaction holds
the write lock. So what is short runs at once: changes of a few rows by their keys (INSERT, UPDATE), COMMIT, taking a
write lock that is free, and the first steps of a SELECT, which begins again in a native thread if it needs more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from gevent import monkey
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from shared.errors import Overloaded
from shared.store.connection import POOL_SIZE, Database

sleep_natively = monkey.get_original("time", "sleep")

# Of a request, for each: a connection, and the write lock of this process. 200 turns that begin at once need several
# seconds on a slow machine.
WAIT_SECONDS = 20.0
# SQLite would sleep for up to 100 ms between two attempts to get a lock of the file. The workers do that, and requests
# go before their work.
ASK_SECONDS = 0.001
SHORT_STEPS = 20_000  # of SQLite's virtual machine: about a millisecond
INTERRUPT_SECONDS = 0.05  # between two attempts to interrupt a statement
STATEMENT_SECONDS = 10.0  # after which a statement is interrupted, or waits no more; its transaction changes nothing


class OffloadedDatabase(Database):
    """A SQLite database whose long statements run in native threads, as many as it has connections.

    Errors: of `read` and `write` also Overloaded: no answer in time, and nothing was changed
    """

    def __init__(self, url: str) -> None:
        threads = ThreadPool(POOL_SIZE)

        def connect(*args: Any, **kwargs: Any) -> OffloadedConnection:
            connection = OffloadedConnection(*args, **kwargs)
            connection.threads = threads
            return connection

        super().__init__(
            url,
            pool_timeout=WAIT_SECONDS,
            connect_args={"factory": connect, "check_same_thread": False, "timeout": 0},
        )
        self._write_lock = BoundedSemaphore(1)

    @contextmanager
    def turn_to_write(self) -> Iterator[None]:
        if not self._write_lock.acquire(timeout=WAIT_SECONDS):
            raise _overloaded()
        try:
            yield
        finally:
            self._write_lock.release()


class OffloadedConnection(sqlite3.Connection):
    """A connection that waits in native threads. threads: where"""

    threads: ThreadPool
    _abandoned = False  # nobody waits for the call any more

    def cursor(self, factory: Any = None) -> Any:
        return super().cursor(factory or OffloadedCursor)

    def begin(self, statement: str) -> None:
        """Begin a transaction. One that reads touches the file with its first statement, so it need not wait."""
        begin = super().execute
        try:
            begin(statement)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            self.offload(begin, statement)

    def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of sqlite3 in a native thread, again and again while the file is locked.

        It does not return before the thread has left the connection, so that the outcome is known.
        Errors: those of the function; Overloaded: too long, and interrupted
        """
        self._abandoned = False
        call = self.threads.spawn(self._attempt, function, args)
        try:
            call.wait(STATEMENT_SECONDS)
        finally:
            while not call.ready():  # too long, or the greenlet is to end
                self._abandoned = True
                self.interrupt()  # changes nothing if the thread has not begun yet
                call.wait(INTERRUPT_SECONDS)
        value, error = call.get()
        if _is_busy(error) or _is_interrupted(error):
            raise _overloaded() from error
        if error is not None:
            raise error
        return value

    def _attempt(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
        """Return the value or the error: gevent would print an error that is raised in one of its threads."""
        while True:
            try:
                return function(*args), None
            except Exception as error:  # noqa: BLE001 - raised again by the caller
                if self._abandoned or not _is_busy(error):
                    return None, error
            sleep_natively(ASK_SECONDS)


class OffloadedCursor(sqlite3.Cursor):
    """A cursor that reads all rows with its statement, so that fetching them need not wait."""

    connection: OffloadedConnection
    _rows: Iterator[Any] = iter(())

    def execute(self, statement: str, parameters: Any = (), /) -> OffloadedCursor:
        if statement.startswith("BEGIN"):
            self.connection.begin(statement)
        else:
            self._rows = iter(self._run(statement, parameters))
        return self

    def _run(self, statement: str, parameters: Any) -> list[Any]:
        execute, fetch = partial(sqlite3.Cursor.execute, self), super().fetchall
        if statement.startswith(("INSERT", "UPDATE")):
            return _execute(execute, fetch, statement, parameters)
        if statement.startswith("SELECT"):
            self.connection.set_progress_handler(_stop, SHORT_STEPS)
            try:
                return _execute(execute, fetch, statement, parameters)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) and not _is_interrupted(error):
                    raise
            finally:
                self.connection.set_progress_handler(None, 0)
        rows: list[Any] = self.connection.offload(_execute, execute, fetch, statement, parameters)
        return rows

    def executemany(self, statement: str, parameters: Any, /) -> OffloadedCursor:
        self.connection.offload(super().executemany, statement, parameters)
        return self

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        return list(islice(self._rows, size or self.arraysize))

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def __next__(self) -> Any:
        return next(self._rows)


def _execute(execute: Callable[..., Any], fetch: Callable[[], list[Any]], statement: str, values: Any) -> list[Any]:
    execute(statement, values)
    return fetch()


def _stop() -> int:
    return 1


def _is_busy(error: Exception | None) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY  # without the extended part


def _is_interrupted(error: Exception | None) -> bool:
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT


def _overloaded() -> Overloaded:
    return Overloaded("the database is busy; retry shortly")
