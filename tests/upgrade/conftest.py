"""The earlier releases, and the time limit of the tests that run them beside this version."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import releases
from tests.support.releases import Release

SECONDS = 240  # for one test, on a busy machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session", params=releases.COMMITS)
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Each release that tests/upgrade/releases.toml names."""
    return releases.build(request.param, tmp_path_factory.mktemp("release"))
