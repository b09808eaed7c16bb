"""Fixtures of the wire tests: a shared deployment per database, each with two API processes and three workers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.deployment import DATABASES, STEADY, Deployment, logs_shown_on_failure


@pytest.fixture(scope="package")
def sqlite_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("sqlite")
    with Deployment(home, "sqlite", api=2, workers=3, server=STEADY) as deployment:
        yield deployment


@pytest.fixture(scope="package")
def postgres_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    home = tmp_path_factory.mktemp("postgres")
    with Deployment(home, "postgres", api=2, workers=3, server=STEADY) as deployment:
        yield deployment


@pytest.fixture(params=DATABASES)
def shared_deployment(request: pytest.FixtureRequest) -> Deployment:
    # A single parametrized package fixture would not do: pytest tears it down whenever the parameter changes.
    deployment: Deployment = request.getfixturevalue(f"{request.param}_deployment")
    return deployment


@pytest.fixture
def deployment(shared_deployment: Deployment) -> Iterator[Deployment]:
    with logs_shown_on_failure(shared_deployment):
        yield shared_deployment
