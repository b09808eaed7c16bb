"""How many cases, from which seed."""

from __future__ import annotations

import os
import secrets
import socketserver
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.house import Fuzzed
from tests.support.deployment import DATABASES, Deployment, require

CASES = int(os.environ.get("THREADHOUSE_FUZZ_N") or 1000)  # of both databases together
SEED = os.environ.get("THREADHOUSE_FUZZ_SEED") or secrets.token_hex(4)
CASES_PER_SECOND = 10  # on a busy machine, at least


def pytest_report_header() -> str:
    return f"fuzz: {CASES} cases, THREADHOUSE_FUZZ_SEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300 + CASES / CASES_PER_SECOND))


@pytest.fixture(scope="session")
def seed() -> str:
    return SEED


@pytest.fixture(scope="session")
def cases() -> int:
    """Of one database."""
    return -(-CASES // len(DATABASES))


@pytest.fixture(params=DATABASES)
def fuzzed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fuzzed]:
    require(request.param)
    monkeypatch.setattr(socketserver.BaseServer, "handle_error", lambda *_: None)  # of the scripted model
    limits = {"turns_at_once": 2, "queued_turns": 50}
    deployment = Deployment(tmp_path, request.param, workers=1, settings={"limits": limits})
    with deployment, Fuzzed(deployment) as fuzzed:
        yield fuzzed
