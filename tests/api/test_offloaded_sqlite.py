"""SQLite in native threads: what runs there, and how long a request waits. Greenlets are those of gevent, unpatched."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError

from api import offloaded_sqlite
from api.offloaded_sqlite import OffloadedConnection, OffloadedDatabase
from shared.errors import Overloaded
from tests.support.wait import DEADLINE_SECONDS

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "threadhouse.sqlite3"


@pytest.fixture
def database(file: Path) -> Iterator[OffloadedDatabase]:
    database = OffloadedDatabase(f"sqlite:///{file}")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE notes (id INTEGER PRIMARY KEY, note TEXT)"))
    yield database
    database.close()


def add(database: OffloadedDatabase, note: str) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO notes (note) VALUES (:note)"), {"note": note})


def write(database: OffloadedDatabase, *statements: str) -> None:
    with database.write() as connection:
        for statement in statements:
            connection.execute(text(statement))


def notes(database: OffloadedDatabase) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(text("SELECT note FROM notes ORDER BY id")).scalars())


def test_native_threads_run_no_code_that_takes_locks_of_python(database: OffloadedDatabase) -> None:
    threads = set()
    for name in ("connect", "checkout", "begin", "before_cursor_execute", "after_cursor_execute", "commit", "checkin"):
        event.listen(database.engine, name, lambda *_: threads.add(threading.get_native_id()))
    database.engine.dispose()  # the next connections are new ones

    gevent.joinall([gevent.spawn(add, database, "a") for _ in range(5)], raise_error=True)
    gevent.joinall([gevent.spawn(notes, database) for _ in range(5)], raise_error=True)

    assert threads == {threading.get_native_id()}


def test_rows_are_fetched_one_by_one_in_parts_and_as_a_whole(database: OffloadedDatabase) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO notes (note) VALUES (:note)"), [{"note": str(n)} for n in range(5)])

    with database.read() as connection:
        rows = connection.execute(text("SELECT note FROM notes ORDER BY id"))
        fetched = rows.fetchone(), rows.fetchmany(2), rows.fetchall(), rows.fetchone()

    assert fetched == (("0",), [("1",), ("2",)], [("3",), ("4",)], None)


def test_a_write_fails_as_a_whole(database: OffloadedDatabase) -> None:
    with pytest.raises(IntegrityError):
        write(database, "INSERT INTO notes VALUES (1, 'a')", "INSERT INTO notes VALUES (1, 'b')")

    assert notes(database) == []


def test_greenlets_run_while_a_write_waits_for_another_process(database: OffloadedDatabase, file: Path) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    writing = gevent.spawn(add, database, "a")
    gevent.sleep(0)
    assert notes(database) == []  # while the write waits
    assert not writing.ready()
    other.execute("COMMIT")
    writing.get()

    assert notes(database) == ["a"]
    other.close()


def test_greenlets_run_while_a_long_select_runs_and_its_rows_are_whole(database: OffloadedDatabase) -> None:
    count = 100_000  # rows, several times the steps that run at once
    numbers = f"WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT {count})"
    write(database, f"{numbers} INSERT INTO notes SELECT x, x FROM n")

    reading = gevent.spawn(notes, database)
    gevent.sleep(0)
    assert not reading.ready()  # this greenlet runs

    assert reading.get() == [str(number) for number in range(1, count + 1)]


def test_short_statements_need_no_native_thread(database: OffloadedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OffloadedConnection, "offload", lambda *_: pytest.fail("a native thread was asked"))

    add(database, "a")
    write(database, "UPDATE notes SET note = 'b' WHERE id = 1")

    assert notes(database) == ["b"]


def test_a_write_that_waits_too_long_is_refused_as_retryable(
    database: OffloadedDatabase, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with monkeypatch.context() as short:
        short.setattr(offloaded_sqlite, "WAIT_SECONDS", 0.2)
        short.setattr(offloaded_sqlite, "STATEMENT_SECONDS", 0.2)
        impatient = OffloadedDatabase(f"sqlite:///{file}")
        writing = [gevent.spawn(add, impatient, "a") for _ in range(30)]  # more than there are connections
        gevent.joinall(writing, timeout=DEADLINE_SECONDS)

    assert {type(one.exception) for one in writing} == {Overloaded}
    other.execute("COMMIT")
    other.close()
    impatient.close()
    add(database, "b")
    assert notes(database) == ["b"]


def test_a_statement_that_runs_too_long_is_interrupted_and_changes_nothing(
    database: OffloadedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as short:
        short.setattr(offloaded_sqlite, "STATEMENT_SECONDS", 0.1)
        with pytest.raises(Overloaded):
            write(database, "INSERT INTO notes VALUES (1, 'a')", ENDLESS)

    assert notes(database) == []


def test_a_greenlet_that_is_killed_leaves_its_connection_to_others(database: OffloadedDatabase) -> None:
    for _ in range(30):  # more than there are connections
        running = gevent.spawn(write, database, ENDLESS)
        gevent.sleep(0)
        running.kill()

    add(database, "b")
    assert notes(database) == ["b"]
