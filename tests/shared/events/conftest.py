"""A Redis in memory, an event log over it, and a store."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest

from shared.events.log import EventLog
from shared.store import Store

MAX_ENTRIES = 100
MAX_BYTES = 80_000


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def redis(server: fakeredis.FakeServer) -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis(server=server)


@pytest.fixture
def log(redis: fakeredis.FakeRedis) -> EventLog:
    return EventLog(redis, max_entries=MAX_ENTRIES, max_bytes=MAX_BYTES)


@pytest.fixture
def store(tmp_path: Path, empty_database: Path) -> Iterator[Store]:
    shutil.copy(empty_database, tmp_path / "store.sqlite3")
    store = Store(f"sqlite:///{tmp_path}/store.sqlite3")
    yield store
    store.close()
