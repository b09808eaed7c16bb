"""Fixtures: a Bench per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from shared.store.items import Item
from tests.support.model_server import ModelServer
from tests.workers.builders import Bench, make_bench
from workers.agent.transcript import Transcript
from workers.control import fault_points


@pytest.fixture(autouse=True)
def known_rows_are_stored_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare what each step knows of the log, without having read it again, with what is stored."""
    load = Transcript.load

    def load_and_compare(transcript: Transcript) -> None:
        def shown(row: Item) -> object:
            has_item = row.turn_id == transcript.claim.turn_id or row.kind == "userMessage"
            return orjson.loads(orjson.dumps(replace(row, item=row.item if has_item else None, published_state=0)))

        load(transcript)
        stored = transcript._store.read_step(transcript.claim).rows
        assert [row.id for row in transcript.rows] == [row.id for row in stored]
        for known, row in zip(transcript.rows, stored, strict=True):
            if known.started_at_ms is None or known.completed_at_ms is not None:  # no command that may end now
                assert shown(known) == shown(row)

    monkeypatch.setattr(Transcript, "load", load_and_compare)


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
