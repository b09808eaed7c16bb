"""A store a test, on SQLite and on Postgres: each with an empty database of its own."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from shared.store import Store
from shared.store.connection import migrate

POSTGRES = os.environ.get("THREADHOUSE_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432/")


def server_url(database: str = "postgres") -> str:
    return make_url(POSTGRES).set(drivername="postgresql", database=database).render_as_string(hide_password=False)


def run(statement: str) -> None:
    with psycopg.connect(server_url(), autocommit=True, connect_timeout=3) as connection:
        connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str | None]:
    """A migrated database, to be copied; None where no server answers."""
    name = f"threadhouse_test_{uuid.uuid4().hex[:12]}"
    try:
        run(f"CREATE DATABASE {name}")
    except psycopg.OperationalError:
        assert "CI" not in os.environ, f"no Postgres answers at {POSTGRES}"
        yield None
        return
    migrate(server_url(name).replace("postgresql://", "postgresql+psycopg://"))
    yield name
    run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def listeners() -> Mapping[str, Sequence[str]]:
    """Who the store tells of what happens: nobody."""
    return {}


@pytest.fixture(params=["sqlite", "postgres"])
def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    empty_database: Path,
    postgres_template: str | None,
    listeners: Mapping[str, Sequence[str]],
) -> Iterator[Store]:
    if request.param == "sqlite":
        shutil.copy(empty_database, tmp_path / "store.sqlite3")
        store = Store(f"sqlite:///{tmp_path}/store.sqlite3", listeners)
        yield store
        store.close()
        return
    if postgres_template is None:
        pytest.skip(f"no Postgres answers at {POSTGRES}; THREADHOUSE_TEST_POSTGRES names another")
    name = f"{postgres_template}_{uuid.uuid4().hex[:8]}"
    run(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    store = Store(server_url(name).replace("postgresql://", "postgresql+psycopg://"), listeners)
    yield store
    store.close()
    run(f"DROP DATABASE {name} WITH (FORCE)")
