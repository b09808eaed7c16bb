"""Fixtures and hooks of the whole suite."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.store.migrations import migrate
from tests.builders import Backend, make_backend
from tests.support import contract as contracts
from tests.support import openapi, order, originals, postgres
from tests.support.contract import Contract
from tests.support.engines import share_compiled_statements

# Login shells read the profile of the user who runs the tests. Its output must not appear in the output of commands.
HOME = tempfile.TemporaryDirectory(prefix="threadhouse-tests-home-")
os.environ["HOME"] = HOME.name

# A shell starts background jobs with SIGINT ignored, and each program that a test starts would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

share_compiled_statements()

RUN = pytest.StashKey[postgres.Run]()
RUN_FOLDER = "postgres_run"  # key under which the main process passes its folder to pytest-xdist's workers
NO_SCHEMAS = "frames are not checked against the schemas of these versions of the original: {} (npm install)"


def pytest_configure(config: pytest.Config) -> None:
    given = getattr(config, "workerinput", None)  # in a worker of pytest-xdist
    if given is None:
        run = config.stash[RUN] = postgres.Run()
        config.add_cleanup(run.end)
    postgres.join_run(Path(given[RUN_FOLDER]) if given else run.folder)


@pytest.fixture(autouse=True)
def unchanged_umask() -> Iterator[None]:
    """Fail a test that leaves another umask to the tests after it."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    after = os.umask(before)
    assert after == before


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Pass the folder of the run to a worker of pytest-xdist."""
    node.workerinput[RUN_FOLDER] = str(node.config.stash[RUN].folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute tests as tests/support/scheduling.py describes, unless the command line chooses another way."""
    from tests.support.scheduling import ByFileAndDatabase  # needs pytest-xdist

    return ByFileAndDatabase(config, log) if config.getvalue("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        from tests.support.scheduling import longest_first

        longest_first(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if missing := _missing_versions():
        terminalreporter.write_line(NO_SCHEMAS.format(missing))


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract | None:
    """The schemas of the original, or None if npm has not installed it. In CI each version has to be installed."""
    missing = _missing_versions()
    assert not (missing and os.environ.get("CI")), NO_SCHEMAS.format(missing)
    return contracts.generate(tmp_path_factory.mktemp("schemas"))


def _missing_versions() -> str:
    return ", ".join(version for version, program in originals.VERSIONS.items() if not program.exists())


@pytest.fixture(autouse=True)
def check_frames(contract: Contract | None) -> Iterator[None]:
    """Check all frames that the clients of the test received: their schemas, and the order of PROTOCOL section 7."""
    contracts.RECORDINGS.clear()
    yield
    for stream in [stream for recording in contracts.RECORDINGS for stream in recording.streams()]:
        order.check(stream, sessions=True)
    violations = openapi.violations(contracts.RECORDINGS)
    if contract is not None:
        violations += contract.violations(contracts.RECORDINGS)
    assert not violations, "\n".join(violations)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file for copying, which is faster than migrating for each test."""
    path = tmp_path_factory.mktemp("database") / "template.sqlite3"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def open_backend(tmp_path: Path, empty_database: Path) -> Iterator[Callable[..., Backend]]:
    """A function that makes Backends with different settings. They are closed at the end of the test."""
    opened: list[Backend] = []

    def open_(**settings: Any) -> Backend:
        home = tmp_path / f"home{len(opened)}"
        home.mkdir()
        opened.append(make_backend(home, empty_database, **settings))
        return opened[-1]

    yield open_
    for backend in opened:
        backend.close()


@pytest.fixture
def backend(open_backend: Callable[..., Backend]) -> Backend:
    return open_backend()
