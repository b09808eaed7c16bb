"""Fixtures: a Bench per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_server import ModelServer
from tests.workers.builders import Bench, make_bench
from workers.control import fault_points


@pytest.fixture
def open_bench(tmp_path: Path, empty_database: Path) -> Iterator[Callable[..., Bench]]:
    """Return a function that makes a Bench with settings of its own; everything ends with the test."""
    opened: list[Bench] = []
    with ModelServer() as model:

        def open_(**settings: Any) -> Bench:
            opened.append(make_bench(tmp_path, empty_database, model, **settings))
            return opened[-1]

        yield open_
        fault_points.call_at("", lambda: None)
        for bench in opened:
            bench.close()


@pytest.fixture
def bench(open_bench: Callable[..., Bench]) -> Bench:
    return open_bench()
