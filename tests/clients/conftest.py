"""Ours and the original side by side, with one model; a module may have fixtures of its own with these names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment import Deployment
from tests.support.original_server import original_server
from tests.support.protocol_client import ProtocolClient


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("side-by-side")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Deployment]:
    (folder / "ours").mkdir()
    with Deployment(folder / "ours") as deployment:
        yield deployment


@pytest.fixture(scope="module")
def original(folder: Path, server: Deployment) -> Iterator[ProtocolClient]:
    (folder / "original").mkdir()
    with original_server(folder / "original", server.model) as client:
        yield client


@pytest.fixture(scope="module")
def ours(server: Deployment) -> ProtocolClient:
    return server.connect()
