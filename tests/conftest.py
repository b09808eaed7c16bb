"""Fixtures of the whole suite."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.store.connection import migrate
from tests.builders import House, make_house
from tests.support import contract as contracts
from tests.support import order
from tests.support.contract import Contract

# Login shells of commands read the profile of whoever runs the tests; nobody's profile may speak up in their output.
HOME = tempfile.TemporaryDirectory(prefix="threadhouse-tests-home-")
os.environ["HOME"] = HOME.name

CONTRACT_IS_OFF = "frames are not checked against the schemas of the original: no node_modules/.bin/codex (npm install)"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not contracts.CODEX.exists():
        terminalreporter.write_line(CONTRACT_IS_OFF)


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract | None:
    """The schemas of the original, or None where npm has not installed it; CI must have it."""
    if contracts.CODEX.exists():
        return contracts.generate(tmp_path_factory.mktemp("schemas"))
    assert not os.environ.get("CI"), CONTRACT_IS_OFF
    return None


@pytest.fixture(autouse=True)
def keeps_the_contract(contract: Contract | None) -> Iterator[None]:
    """Whatever the test's clients see has the shape of the schemas and the order of PROTOCOL section 7."""
    contracts.RECORDINGS.clear()
    yield
    for stream in [stream for recording in contracts.RECORDINGS for stream in recording.streams()]:
        order.check(stream, sessions=True)
    if contract is not None:
        violations = contract.violations(contracts.RECORDINGS)
        assert not violations, "\n".join(violations)


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
