"""Transactions: what SQLite connections are set up with, and which locks a transaction holds from its start."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from shared.errors import ConfigError
from shared.store import Store
from shared.store.connection import Database
from tests.shared.store.records import at_once, thread

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


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="SQLite needs a file"):
        Database(url)
