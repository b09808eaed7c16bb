"""Errors of the database are sorted: what a later attempt may store, and what no attempt can."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, TimeoutError

from shared.errors import ClaimLost
from shared.store.outages import is_outage, retry_outages


def of_state(state: str) -> DBAPIError:
    error = psycopg.errors.lookup(state)("refused")
    return DBAPIError.instance(None, None, error, psycopg.Error)  # type: ignore[no-any-return, return-value]


OUTAGES = ("08006", "25006", "25P03", "40001", "40P01", "53300", "53100", "55P03", "57P01", "57014")
DATA = ("22021", "22P05", "23505", "23502", "42P01", "42501", "54000", "25001")


@pytest.mark.parametrize("state", OUTAGES)
def test_state_of_the_server_is_an_outage(state: str) -> None:
    assert is_outage(of_state(state))


@pytest.mark.parametrize("state", DATA)
def test_state_of_the_data_is_no_outage(state: str) -> None:
    assert not is_outage(of_state(state))


def test_dead_connections_and_full_pools_are_outages() -> None:
    assert is_outage(OperationalError(None, None, psycopg.OperationalError("server closed the connection")))
    closed = psycopg.InterfaceError("the connection is closed")
    assert is_outage(DBAPIError(None, None, closed, connection_invalidated=True))
    assert is_outage(TimeoutError("QueuePool limit"))
    assert not is_outage(DBAPIError(None, None, psycopg.DataError("NUL (0x00) bytes")))
    assert not is_outage(ValueError("surrogates not allowed"))


def test_errors_of_sqlite_are_sorted(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite3"
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 0})
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (x UNIQUE)"))

    with pytest.raises(OperationalError) as missing, engine.begin() as connection:
        connection.execute(text("SELECT * FROM missing"))
    with pytest.raises(IntegrityError) as twice, engine.begin() as connection:
        connection.execute(text("INSERT INTO t VALUES (1), (1)"))
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError) as locked, engine.begin() as connection:
            connection.execute(text("INSERT INTO t VALUES (1)"))
    other.close()

    assert [is_outage(caught.value) for caught in (missing, twice, locked)] == [False, False, True]
    engine.dispose()


def test_calls_are_repeated_until_the_database_answers() -> None:
    answers = iter([of_state("57P03"), of_state("25006"), None])

    def call() -> str:
        error = next(answers)
        if error is not None:
            raise error
        return "stored"

    assert retry_outages(call, lambda: None) == "stored"


def test_calls_are_not_repeated_once_the_claim_is_lost() -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise of_state("57P03")

    def check() -> None:
        raise ClaimLost("another worker has the turn")

    with pytest.raises(ClaimLost):
        retry_outages(call, check)
    assert len(calls) == 1


def test_errors_of_the_data_are_raised_at_once() -> None:
    def call() -> None:
        raise of_state("23505")

    with pytest.raises(DBAPIError):
        retry_outages(call, lambda: None)
