"""Connections to Postgres on which nothing waits for ever, whatever happens to the server or on the way to it.

A server that works ends a statement that takes too long, and a kernel notices a peer that is gone. Neither helps when
the server or something before it stands still while its kernel still answers, so this side closes a connection from
which nothing has come for longer than a statement may take. The server may not notice that, and go on holding the locks
of the connection: it measures no time between two messages of one request. So it is asked to end the connection.

A statement whose outcome nobody looks at is not waited for: its error is that of the next statement that is, or of
COMMIT (shared.store.connection.DEFERRED). In libpq's pipeline mode it is sent together with that one, in one piece: a
process that stands still in between, or for ever, must not leave the server in the middle of a request, where it holds
locks and measures no time. Between two requests it does (idle_in_transaction_session_timeout). The server is asked to
send each answer at once, because the time of its silence is that of one statement.
"""

from __future__ import annotations

import fcntl
import logging
import termios
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.waiting import Wait
from sqlalchemy import URL, Connection, Engine, ExceptionContext, event
from sqlalchemy.exc import InvalidatePoolError

from shared.store.outages import READ_ONLY

CONNECT_SECONDS = 5
KEEPALIVES: Mapping[str, int] = {  # of both sides, in seconds: dead connections would fill up max_connections
    "keepalives_idle": 10,  # a peer that is gone is noticed, and a middlebox kept open
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
LIBPQ_OPTIONS: Mapping[str, int | str] = {  # each may be set otherwise in the database's URL
    "target_session_attrs": "read-write",  # a session that began on a replica would fail in a later request
    "connect_timeout": CONNECT_SECONDS,  # seconds, for each of the hosts
    **KEEPALIVES,
    "tcp_user_timeout": 15_000,  # ms for which what was sent may stay unacknowledged
}
IDLE_IN_TRANSACTION_MS = 5_000  # no transaction waits for anything but the database
STATEMENT_SHARE = 0.8  # of the time that an answer may take: a server that works is the first to give up
LOCK_SHARE = 0.5
FRESH_SECONDS = 1.0  # after an answer, for which a connection is believed to be alive
PING_SECONDS = 3.0  # that the answer to a ping may take
END_SECONDS = 2  # for telling the server to end a connection
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(%s) WHERE backend_start = %s"
IDENTITY = "SELECT pid, backend_start FROM pg_stat_get_activity(pg_backend_pid())"
ATTEMPTS = 3  # to read the answers that are left after an error
WAIT_SECONDS = 0.1  # after which a connection that waits looks at the clock

Value = TypeVar("Value")
logger = logging.getLogger(__name__)


class HeldPipeline(psycopg.Pipeline):
    """A pipeline that sends nothing before `sync`, and then all of it."""

    def _communicate_gen(self) -> PQGen[None]:
        """Put messages into libpq's buffer, instead of sending each: the one of `sync` sends what is there."""
        while self.command_queue:
            self.command_queue.popleft()()
        return
        yield


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that closes itself when the server is silent for too long while it owes an answer.

    answer_seconds: how long
    end_backend:    asks the server to end its side; raises psycopg.Error
    heard_at:       monotonic seconds of the server's last answer
    """

    answer_seconds = float("inf")
    end_backend: Callable[[], object] | None = None
    heard_at = 0.0

    def enter_pipeline(self) -> None:
        """Send statements without waiting for them, until `complete`."""
        if self._pipeline is None:
            self._pipeline = HeldPipeline(self)
            self._pipeline.__enter__()

    def complete(self) -> None:
        """Wait for the outcome of all statements. Errors: psycopg.Error: of the first that failed."""
        if self._pipeline is not None:
            self._pipeline.sync()
            self.leave_pipeline()

    def leave_pipeline(self) -> None:
        """Leave pipeline mode. Answers that are left after an error are read: those of statements that were not run.

        The connection is closed when psycopg waits for an answer that cannot come, because a message was never sent.
        """
        for _ in range(ATTEMPTS):
            if self._pipeline is not None and self._pipeline.result_queue and not self.closed:
                with suppress(psycopg.Error):
                    self._pipeline.sync()
        if self._pipeline is None or self.closed:
            return
        try:
            if self._pipeline.result_queue:
                raise psycopg.OperationalError("answers are missing")
            self.pgconn.exit_pipeline_mode()
            self._pipeline = None
        except psycopg.Error as error:
            logger.warning("connection to Postgres closed: %s", error)
            self.close()

    def commit(self) -> None:
        # The server would answer COMMIT with ROLLBACK, and with no error.
        if self.pgconn.transaction_status == TransactionStatus.INERROR:
            raise psycopg.errors.InFailedSqlTransaction("an earlier statement of the transaction failed")
        super().commit()
        self.leave_pipeline()

    def rollback(self) -> None:
        self.leave_pipeline()
        super().rollback()

    def wait(self, gen: PQGen[Value], interval: float = WAIT_SECONDS, timeout: float | None = None) -> Value:
        """Every wait for the server goes through here. Errors: psycopg.OperationalError (silent)."""
        try:
            awaited = next(gen)
        except StopIteration as end:  # as of a statement that is sent later
            done: Value = end.value
            return done
        value = super().wait(self._end_silence(gen, awaited), interval, timeout)
        self.heard_at = time.monotonic()
        return value

    def ping(self) -> None:
        """Check that the server still answers, outside of a transaction. Errors: psycopg.Error.

        A server that has just answered is not asked again, unless it has sent something since, as it does before it
        closes a connection.
        """
        if time.monotonic() - self.heard_at < FRESH_SECONDS and not self._has_unread():
            self.pgconn.consume_input()  # fails if the connection was closed without a word
            return
        answer_seconds, self.answer_seconds = self.answer_seconds, min(PING_SECONDS, self.answer_seconds)
        self.execute("")
        self.answer_seconds = answer_seconds

    def _has_unread(self) -> bool:
        unread = array("i", [0])
        fcntl.ioctl(self.fileno(), termios.FIONREAD, unread)
        return unread[0] > 0

    def _end_silence(self, gen: PQGen[Value], awaited: Wait) -> PQGen[Value]:
        """Pass on what the generator waits for and what is ready, until nothing is for too long. awaited: at first.

        psycopg may wait for an answer to a message that has left in part only: the rest is sent here.
        """
        try:
            heard_at = time.monotonic()
            while True:
                is_sent = self.pgconn.flush() == 0
                ready = yield awaited if is_sent else Wait.RW
                if ready:
                    heard_at = time.monotonic()
                elif time.monotonic() - heard_at > self.answer_seconds:
                    self.close()
                    if self.end_backend is not None:
                        with suppress(psycopg.Error):
                            self.end_backend()
                    raise psycopg.OperationalError(f"connection closed: no answer for {self.answer_seconds:g} s")
                if ready & awaited or not ready:
                    awaited = gen.send(ready)
        except StopIteration as end:
            value: Value = end.value
            return value


class PipelineCursor(psycopg.Cursor[Any]):
    """A cursor whose statements have an outcome when they return, unless they are deferred."""

    connection: BoundedConnection

    def execute(self, *args: Any, deferred: bool = False, **kwargs: Any) -> PipelineCursor:
        with self._sending(deferred=deferred):
            super().execute(*args, **kwargs)
        return self

    def executemany(self, *args: Any, **kwargs: Any) -> None:
        self.connection.enter_pipeline()  # psycopg would make a pipeline that sends at once
        with self._sending(deferred=False):
            super().executemany(*args, **kwargs)

    @contextmanager
    def _sending(self, *, deferred: bool) -> Iterator[None]:
        """Around the sending of a statement. After an error the connection is as outside of pipeline mode."""
        connection = self.connection
        try:
            if deferred:
                connection.enter_pipeline()
            yield
            if deferred:
                connection.pgconn.send_flush_request()
            else:
                connection.complete()
        except psycopg.Error:
            connection.leave_pipeline()
            raise


def connector(url: URL, answer_seconds: float) -> Callable[[], BoundedConnection]:
    """Return the function that makes an engine's connections, all of whose waits are bounded.

    answer_seconds: for which a statement may run, and a little more
    """
    args, params = url.get_dialect()().create_connect_args(url)
    options = {
        **{f"tcp_{name}": value for name, value in KEEPALIVES.items()},
        "statement_timeout": answer_seconds * STATEMENT_SHARE * 1000,
        "lock_timeout": answer_seconds * LOCK_SHARE * 1000,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
    }
    settings = "; ".join(f"SET {name} = {round(value)}" for name, value in options.items())

    def connect() -> BoundedConnection:
        # BEGIN is sent by shared.store.connection.
        options = {**LIBPQ_OPTIONS, **params, "autocommit": True, "cursor_factory": PipelineCursor}
        connection = BoundedConnection.connect(*args, **options)
        connection.answer_seconds = answer_seconds
        connection.execute(settings)
        identity = connection.execute(IDENTITY).fetchone()
        connection.end_backend = lambda: end_backend(identity)
        return connection

    def end_backend(identity: Sequence[object] | None) -> None:
        options = {**LIBPQ_OPTIONS, **params, "connect_timeout": END_SECONDS}
        with BoundedConnection.connect(*args, **options, autocommit=True) as connection:
            connection.answer_seconds = END_SECONDS
            connection.execute(END, identity)

    return connect


def listen_to(engine: Engine) -> None:
    """Defer the statements that may be, and replace dead connections.

    The engine's pool gives out no idle connection that does not answer, or that leads to a replica. One that was used
    within FRESH_SECONDS and that fell silent since is found by its next statement only.
    """
    event.listen(engine, "do_execute", _execute_deferred)
    event.listen(engine, "do_executemany", _execute_many_deferred)
    event.listen(engine, "checkout", _check)
    event.listen(engine, "handle_error", _leave_replica)
    undo = engine.dialect.do_rollback_to_savepoint

    def undo_savepoint(connection: Connection, name: str) -> None:
        """Let a savepoint be undone although a statement that is not waited for has failed in it."""
        driver: Any = connection.connection.driver_connection
        driver.leave_pipeline()
        undo(connection, name)

    # Not by an event of connections: with a listener of one, SQLAlchemy looks for more around every statement.
    engine.dialect.do_rollback_to_savepoint = undo_savepoint  # type: ignore[method-assign]


def _execute_deferred(cursor: PipelineCursor, statement: str, parameters: Any, context: Any) -> bool:
    """Return whether the statement was one to be deferred, and is sent."""
    if not context.execution_options.get("deferred"):
        return False
    cursor.execute(statement, parameters, deferred=True)
    return True


def _execute_many_deferred(cursor: PipelineCursor, statement: str, parameters: Any, context: Any) -> bool:
    if not context.execution_options.get("deferred"):
        return False
    for values in parameters:  # each with its own time of silence
        cursor.execute(statement, values, deferred=True)
    return True


def _check(connection: Any, _record: Any, _proxy: Any) -> None:
    """Replace a connection that does not answer, and all older ones."""
    try:
        connection.ping()
    except psycopg.Error as error:
        raise InvalidatePoolError from error


def _leave_replica(context: ExceptionContext) -> None:
    """Close the connections to a server that became a replica: new ones may reach the primary."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True
