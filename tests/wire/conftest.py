"""One deployment for all tests of the wire, on SQLite and on Postgres: two API processes and three workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.deployment import DATABASES, Deployment, require, shown_when_it_fails


@pytest.fixture(scope="session", params=DATABASES)
def shared_deployment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    require(request.param)
    with Deployment(tmp_path_factory.mktemp(request.param), request.param, api=2, workers=3) as deployment:
        yield deployment


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Iterator[Deployment]:
    with shown_when_it_fails(shared_deployment):
        yield shared_deployment
