"""Transactions: what SQLite connections are set up with, and which locks a transaction holds from its start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text
from sqlalchemy.exc import TimeoutError

from shared.errors import ConfigError
from shared.store import Store
from shared.store import connection as connection_module
from shared.store.connection import Database
from tests.shared.store.records import at_once, thread
from tests.support.wait import until

ON_SQLITE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@ON_SQLITE
def test_sqlite_commits_without_waiting_for_readers_or_the_disk(store: Store) -> None:
    with store.database.read() as connection:
        pragmas = {
            name: connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "mmap_size")
        }

    assert (pragmas["journal_mode"], pragmas["synchronous"]) == ("wal", 1)
    assert pragmas["mmap_size"] > 0


@ON_SQLITE
def test_a_transaction_that_only_reads_begins_as_one(store: Store) -> None:
    made = thread(store)

    with store.database.read() as connection:
        count = text("SELECT count(*) FROM threads")
        before = connection.scalar(count)
        thread(store)  # another connection writes meanwhile
        assert connection.scalar(count) == before == 1

    assert store.threads.find(made.id, "ann") is not None


def test_reading_what_is_then_written_loses_no_update(store: Store) -> None:
    store.limits.change("ann", {"weight": 1})

    def raise_weight(_: int) -> None:
        with store.database.write() as connection:
            store.database.lock_budget(connection, "ann")
            weight = connection.scalar(text("SELECT weight FROM user_limits")) or 0
            connection.execute(text("UPDATE user_limits SET weight = :weight"), {"weight": weight + 1})

    at_once(6, raise_weight)

    assert store.limits.own("ann") == {"weight": 7}


@ON_SQLITE
def test_the_writers_of_a_process_wait_in_a_queue_whichever_database_they_use(store: Store) -> None:
    other = Database(store.database.engine.url.render_as_string(), writes_first=True)
    written: list[str] = []

    def write(database: Database, name: str) -> None:
        with database.write() as connection:
            connection.execute(text("SELECT 1"))
            written.append(name)

    writers = connection_module._writers_of(str(store.database.engine.url.database))
    with ThreadPoolExecutor(4) as threads, store.database.write():
        names = [(store.database, "a"), (store.database, "b"), (other, "first"), (store.database, "c")]
        for number, (database, name) in enumerate(names, 1):
            threads.submit(write, database, name)
            until(lambda number=number: len(writers._waiting) == number)
        assert written == []
        assert store.database.engine.pool.checkedout() == 1, "who waits to write has no connection"  # type: ignore[attr-defined]
    other.close()

    assert written == ["first", "a", "b", "c"]


@ON_SQLITE
def test_who_waits_for_a_writer_that_stands_still_is_refused(store: Store) -> None:
    impatient = Database(store.database.engine.url.render_as_string(), pool_timeout=0.05)

    refused = pytest.raises(TimeoutError, match="none came to its end in time")
    with store.database.write(), refused, impatient.write():
        pass

    with impatient.write() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    impatient.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="SQLite needs a file"):
        Database(url)
