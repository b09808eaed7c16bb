"""Number of cases, seed and deployment of the fuzz tests."""

from __future__ import annotations

import os
import secrets
import socketserver
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.backend import Fuzzed
from tests.support.deployment import DATABASES, STEADY, Deployment

CASES = int(os.environ.get("THREADHOUSE_FUZZ_N") or 1000)  # for both databases together
SEED = os.environ.get("THREADHOUSE_FUZZ_SEED") or secrets.token_hex(4)
OPENAI = {"base_url": "http://127.0.0.1:9/v1"}  # nothing listens there; the hostile user may choose this provider
CASES_PER_SECOND = 10  # on a busy machine, at least


def pytest_report_header() -> str:
    return f"fuzz: {CASES} cases, THREADHOUSE_FUZZ_SEED={SEED}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600 + CASES / CASES_PER_SECOND))


@pytest.fixture(scope="session")
def seed() -> str:
    return SEED


@pytest.fixture(scope="session")
def cases() -> int:
    """Number of cases for one database."""
    return -(-CASES // len(DATABASES))


@pytest.fixture(params=DATABASES)
def fuzzed(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fuzzed]:
    monkeypatch.setattr(socketserver.BaseServer, "handle_error", lambda *_: None)  # the scripted model's server
    limits = {"turns_at_once": 2, "queued_turns": 50}
    settings = {"limits": limits, "model_providers.openai": OPENAI}
    deployment = Deployment(tmp_path, request.param, workers=1, settings=settings, server=STEADY)
    with deployment, Fuzzed(deployment) as fuzzed:
        yield fuzzed
