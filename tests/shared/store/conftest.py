"""One store per test, on SQLite and on Postgres, each with an empty database of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from shared.store import Store
from tests.support import postgres


@pytest.fixture
def listeners() -> Mapping[str, Sequence[str]]:
    """Return event → targets of the outbox: none."""
    return {}


@pytest.fixture(params=["sqlite", "postgres"])
def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    empty_database: Path,
    listeners: Mapping[str, Sequence[str]],
) -> Iterator[Store]:
    if request.param == "sqlite":
        shutil.copy(empty_database, tmp_path / "store.sqlite3")
        store = Store(f"sqlite:///{tmp_path}/store.sqlite3", listeners)
        yield store
        store.close()
        return
    url = postgres.create_database()
    store = Store(url, listeners)
    yield store
    store.close()
    postgres.drop_database(url)
