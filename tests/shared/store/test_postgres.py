"""Nothing waits for ever on a connection to Postgres, and what a lost reply to COMMIT hides is found again."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy import Executable, bindparam, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from shared.errors import ClaimLost
from shared.store import Store
from shared.store import postgres as postgres_module
from shared.store.connection import DEFERRED, Database
from shared.store.outages import OutcomeUnknown, is_outage
from tests.shared.store.records import park, queued, running
from tests.support import postgres
from tests.support.fault_proxy import FaultProxy
from tests.support.wait import until

ANSWER_SECONDS = 2.0  # a server on a busy machine needs some time for 5 MB, and to be the first to give up
FLUSH = b"H\0\0\0\4"


@dataclass
class Setup:
    """A store behind a proxy, and one that reaches the same database without it."""

    proxy: FaultProxy
    store: Store
    direct: Store

    @property
    def database(self) -> Database:
        return self.store.database


@pytest.fixture
def setup() -> Iterator[Setup]:
    url = postgres.create_database()
    with FaultProxy(postgres.server_address()) as proxy:
        proxied = postgres.through_port(url, proxy.port) + "&connect_timeout=2"
        store = Store(proxied, open_database=lambda url: Database(url, answer_seconds=ANSWER_SECONDS))
        direct = Store(url)
        yield Setup(proxy, store, direct)
        store.close()
        direct.close()
    postgres.drop_database(url)


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def ask(database: Database) -> int:
    with database.read() as connection:
        return int(connection.scalar(text("SELECT 1")) or 0)


def test_connection_that_falls_silent_is_closed(setup: Setup) -> None:
    connection = setup.database.engine.connect()
    connection.execute(text("SELECT 1"))
    setup.proxy.pause()

    with pytest.raises(OperationalError, match="no answer for") as caught:
        connection.execute(text("SELECT 2"))

    assert is_outage(caught.value)
    connection.close()
    setup.proxy.heal()
    assert ask(setup.database) == 1


def test_locks_of_a_connection_that_fell_silent_within_a_request_are_released(setup: Setup) -> None:
    connection = setup.database.engine.connect()
    setup.database.lock_claims(connection)
    driver: Any = connection.connection.driver_connection
    driver.pgconn.send_flush_request()  # after the first message of a request the server measures no time
    driver.pgconn.flush()
    until(lambda: any(link.sent.endswith(FLUSH) for link in setup.proxy.links))
    setup.proxy.drop()

    with pytest.raises(OperationalError, match="no answer for"):
        connection.execute(text("SELECT 1"))

    with setup.direct.database.write() as other:
        setup.direct.database.lock_claims(other)
    connection.close()


def test_what_stands_still_within_a_request_holds_no_locks(setup: Setup) -> None:
    """As a worker does that is stopped, or whose machine is, between two statements."""
    with setup.database.write() as still:
        setup.database.lock_claims(still)

        with setup.direct.database.write() as other:
            setup.direct.database.lock_claims(other)
            assert other.scalar(text("SELECT 1")) == 1

        assert still.scalar(text("SELECT 2")) == 2
        driver: Any = still.connection.driver_connection
        assert driver.pgconn.transaction_status == TransactionStatus.INTRANS  # the server measures its time


def test_connection_of_the_pool_that_fell_silent_is_replaced(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_module, "FRESH_SECONDS", 0)
    assert ask(setup.database) == 1
    setup.proxy.drop()

    assert ask(setup.database) == 1


def test_connection_that_the_server_has_just_closed_is_replaced(setup: Setup) -> None:
    with setup.database.read() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        driver: Any = connection.connection.driver_connection
    with setup.direct.database.read() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    until(lambda: is_readable(driver.fileno()))  # the server's farewell, or already the end

    assert ask(setup.database) == 1
    assert driver.closed


def test_connection_that_was_just_closed_without_a_word_is_replaced(setup: Setup) -> None:
    with setup.database.read() as connection:
        driver: Any = connection.connection.driver_connection
    setup.proxy.reset()
    until(lambda: is_readable(driver.fileno()))
    setup.proxy.heal()

    assert ask(setup.database) == 1
    assert driver.closed


def write(database: Database, *statements: str, last: str = "", failure: type[Exception] | None = None) -> None:
    """Execute statements that are not waited for, then one that is, in one transaction."""
    with database.write() as connection:
        for statement in statements:
            connection.execute(text(statement), execution_options=DEFERRED)
        if last:
            connection.execute(text(last))
        if failure:
            raise failure


def test_error_of_a_statement_that_is_not_waited_for_is_that_of_commit(setup: Setup) -> None:
    write(setup.database, "CREATE TABLE made (x int UNIQUE)")

    with pytest.raises(IntegrityError):
        write(setup.database, "INSERT INTO made VALUES (1)", "INSERT INTO made VALUES (1)")

    assert count_rows(setup.database) == 0


def test_error_of_a_statement_that_is_not_waited_for_is_that_of_the_next_one(setup: Setup) -> None:
    write(setup.database, "CREATE TABLE made (x int)")

    with pytest.raises(DBAPIError, match="division by zero"):
        write(setup.database, "INSERT INTO made VALUES (1)", "SELECT 1 / 0", last="INSERT INTO made VALUES (2)")

    assert count_rows(setup.database) == 0


def test_error_of_the_caller_undoes_statements_that_are_not_waited_for(setup: Setup) -> None:
    write(setup.database, "CREATE TABLE made (x int)")

    for statement in ("SELECT 1", "SELECT 1 / 0"):
        with pytest.raises(KeyError):
            write(setup.database, "INSERT INTO made VALUES (1)", statement, failure=KeyError)

    assert count_rows(setup.database) == 0


def test_statements_larger_than_the_buffers_of_a_connection_arrive(setup: Setup) -> None:
    large = f"INSERT INTO made VALUES ('{'x' * 5_000_000}')"  # the kernel takes only a part of it at once
    write(setup.database, "CREATE TABLE made (x text)")

    write(setup.database, large, large, last=large)
    write(setup.direct.database, large)

    assert count_rows(setup.database) == 4


def test_an_error_while_a_statement_is_sent_ends_pipeline_mode(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise psycopg.DataError("of a statement before")

    with setup.database.write() as connection:
        connection.execute(text("SELECT 1"), execution_options=DEFERRED)
        with monkeypatch.context() as patched:
            patched.setattr(psycopg.Cursor, "execute", fail)
            with pytest.raises(DBAPIError):
                connection.execute(text("SELECT 2"), execution_options=DEFERRED)

        driver: Any = connection.connection.driver_connection
        assert driver.pgconn.pipeline_status == PipelineStatus.OFF
        assert connection.scalar(text("SELECT 3")) == 3


def test_transaction_whose_failed_statement_nobody_noticed_is_not_committed(setup: Setup) -> None:
    write(setup.database, "CREATE TABLE made (x text)")

    with pytest.raises(DBAPIError, match="an earlier statement"):
        write_and_ignore(setup.database, "INSERT INTO made VALUES ('x')", "SELECT 1 / 0")

    assert count_rows(setup.database) == 0


def test_savepoint_is_undone_after_an_error_of_the_caller(setup: Setup) -> None:
    write(setup.database, "CREATE TABLE made (x text)")

    with setup.database.write() as connection:
        connection.execute(text("INSERT INTO made VALUES ('before')"), execution_options=DEFERRED)
        with suppress(KeyError), connection.begin_nested():
            connection.execute(text("INSERT INTO made VALUES ('in')"), execution_options=DEFERRED)
            connection.execute(text("SELECT 1 / 0"), execution_options=DEFERRED)
            raise KeyError
        connection.execute(text("INSERT INTO made VALUES ('after')"), execution_options=DEFERRED)

    assert count_rows(setup.database) == 2


def write_and_ignore(database: Database, statement: str, failing: str) -> None:
    with database.write() as connection:
        connection.execute(text(statement), execution_options=DEFERRED)
        with suppress(DBAPIError):
            connection.execute(text(failing))


def test_statement_that_the_library_refuses_fails_alone(setup: Setup) -> None:
    too_many = text("SELECT 1 WHERE 1 IN :of").bindparams(bindparam("of", expanding=True))
    values = {"of": list(range(70_000))}  # the protocol counts parameters with 16 bits
    write(setup.database, "CREATE TABLE made (x text)")

    with pytest.raises(DBAPIError), setup.database.read() as connection:
        connection.execute(too_many, values)
    with pytest.raises(DBAPIError):
        write_then(setup.database, "INSERT INTO made VALUES ('x')", too_many, values)

    assert count_rows(setup.database) == 0


def write_then(database: Database, statement: str, last: Executable, values: dict[str, Any]) -> None:
    with database.write() as connection:
        connection.execute(text(statement), execution_options=DEFERRED)
        connection.execute(last, values, execution_options=DEFERRED)


def test_statement_that_failed_when_it_was_prepared_can_be_repeated(setup: Setup) -> None:
    write(setup.database, "CREATE TABLE made (x text)")
    for _ in range(5):  # the next one is prepared on the server
        assert count_rows(setup.database) == 0

    with setup.direct.database.write() as connection:
        connection.execute(text("LOCK TABLE made"))
        with pytest.raises(DBAPIError):
            count_rows(setup.database)

    assert count_rows(setup.database) == 0


def test_silence_is_measured_for_each_statement(setup: Setup) -> None:
    slow = f"SELECT pg_sleep({ANSWER_SECONDS * 0.4})"

    write(setup.database, slow, slow, last=slow)
    with setup.database.write() as connection:
        connection.execute(text(f"{slow}, :x"), [{"x": 1}, {"x": 2}, {"x": 3}], execution_options=DEFERRED)

    assert ask(setup.database) == 1


def count_rows(database: Database) -> int:
    with database.read() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM made")) or 0)


def test_connection_that_falls_silent_right_after_its_use_fails_once(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_module, "FRESH_SECONDS", 60)  # it stays right after its use
    with setup.database.read() as first, setup.database.read() as second:  # two connections of the pool
        for connection in (first, second):
            connection.execute(text("SELECT 1"))
    setup.proxy.drop()

    with pytest.raises(OperationalError) as caught:
        ask(setup.database)

    assert is_outage(caught.value)
    assert ask(setup.database) == 1


def test_silent_server_is_not_waited_for_when_connecting(setup: Setup) -> None:
    setup.proxy.pause()

    with pytest.raises(OperationalError) as caught:
        ask(setup.database)

    assert is_outage(caught.value)


def test_server_ends_a_statement_before_its_connection_is_closed(setup: Setup) -> None:
    with pytest.raises(DBAPIError) as caught, setup.database.read() as connection:
        connection.execute(text("SELECT pg_sleep(60)"))

    assert caught.value.orig.sqlstate == "57014"  # type: ignore[union-attr]
    assert not caught.value.connection_invalidated


def test_lock_is_not_waited_for_for_ever(setup: Setup) -> None:
    with setup.direct.database.write() as holder:
        setup.direct.database.lock_claims(holder)
        holder.execute(text("SELECT 1"))  # the statement that locks is not waited for by itself

        with pytest.raises(DBAPIError) as caught, setup.database.write() as connection:
            setup.database.lock_claims(connection)

    assert caught.value.orig.sqlstate == "55P03"  # type: ignore[union-attr]
    assert is_outage(caught.value)


def test_connections_to_a_server_that_became_read_only_are_replaced(setup: Setup) -> None:
    connection = setup.database.engine.connect()
    connection.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
    connection.commit()

    with pytest.raises(DBAPIError) as caught:
        connection.execute(text("DELETE FROM turns"))

    connection.close()
    assert is_outage(caught.value)
    with setup.database.write() as connection:
        connection.execute(text("DELETE FROM turns"))


def test_connection_is_not_made_to_a_server_that_is_read_only(setup: Setup) -> None:
    url = setup.direct.database.engine.url.render_as_string(hide_password=False)
    postgres.set_read_only(url, True)

    with pytest.raises(OperationalError, match="read-only") as caught:
        ask(setup.database)

    assert is_outage(caught.value)
    postgres.set_read_only(url, False)
    assert ask(setup.database) == 1


def test_lost_reply_to_commit_leaves_the_outcome_unknown(setup: Setup) -> None:
    setup.proxy.cut_behind(b"COMMIT", reply=b"COMMIT")

    with pytest.raises(OutcomeUnknown) as caught, setup.database.write() as connection:
        connection.execute(text("CREATE TABLE made (x int)"))

    assert is_outage(caught.value)
    with setup.direct.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM made")) == 0


def test_claim_without_a_reply_is_found(setup: Setup) -> None:
    turn = queued(setup.direct)
    setup.proxy.cut_behind(b"COMMIT", about=turn.id.encode(), reply=b"COMMIT")

    with pytest.raises(OutcomeUnknown):
        setup.store.claims.claim(["mine"], lease_ms=60_000, turns_at_once=0)

    found = setup.store.claims.find("mine")
    assert found is not None
    assert (found.turn_id, found.claim_no) == (turn.id, 1)
    assert setup.store.claims.find("other") is None


def test_request_that_was_stored_without_a_reply_is_not_stored_again(setup: Setup) -> None:
    claim = running(setup.direct)
    asked = {"method": "item/commandExecution/requestApproval", "item_id": "i", "params": {}, "keys": ["k"]}
    setup.proxy.cut_behind(b"COMMIT", about=claim.turn_id.encode(), reply=b"COMMIT")

    with pytest.raises(OutcomeUnknown):
        setup.store.claims.park(claim, **asked, expires_in_ms=60_000)  # type: ignore[arg-type]
    again = setup.store.claims.park(claim, **asked, expires_in_ms=60_000)  # type: ignore[arg-type]

    assert again is not None
    assert [stored.id for stored in setup.direct.approvals.of_turn(claim.turn_id)] == [again.id]
    with pytest.raises(ClaimLost):
        park(setup.store, claim)  # about another item
