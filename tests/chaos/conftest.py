"""Number of repetitions, time limit and databases of the chaos tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import DATABASES, Deployment, logs_shown_on_failure

TIMES = int(os.environ.get("THREADHOUSE_CHAOS_N") or 1)
SECONDS_EACH = 120  # for one repetition, on a busy machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300 + SECONDS_EACH * TIMES))


@pytest.fixture
def times() -> range:
    """One number for each repetition of a kill, a pause or an outage: THREADHOUSE_CHAOS_N of them."""
    return range(TIMES)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def deploy(database: str, tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """A function that starts a Deployment, which ends with the test."""
    with ExitStack() as stack:

        def start(**options: Any) -> Deployment:
            deployment = stack.enter_context(Deployment(tmp_path, database, **options))
            stack.enter_context(logs_shown_on_failure(deployment))
            return deployment

        yield start
