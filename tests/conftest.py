"""Fixtures of the whole suite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.store.connection import migrate
from tests.builders import House, make_house


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied: quicker than migrating for each test."""
    path = tmp_path_factory.mktemp("database") / "template.sqlite3"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def open_house(tmp_path: Path, empty_database: Path) -> Iterator[Callable[..., House]]:
    """Makes Houses with settings of their own; they are closed at the end."""
    opened: list[House] = []

    def open_(**settings: Any) -> House:
        home = tmp_path / f"home{len(opened)}"
        home.mkdir()
        opened.append(make_house(home, empty_database, **settings))
        return opened[-1]

    yield open_
    for house in opened:
        house.close()


@pytest.fixture
def house(open_house: Callable[..., House]) -> House:
    return open_house()
