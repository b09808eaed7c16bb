"""A thread with more bytes than a model may get: only its turns fail, and nothing of it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.engine import Row

from shared.config import Limits
from shared.store.items import Item, from_row
from shared.store.threads import Thread
from tests.support import order
from tests.workers.agent.test_compaction import compact
from tests.workers.agent.test_turn import types
from tests.workers.builders import Bench

LIMIT = 100_000


def inject(bench: Bench, thread: Thread, size_bytes: int) -> None:
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * size_bytes}]}
    bench.workers[0].store.histories.inject(thread.id, thread.owner, [message], history_limit=0)


def test_a_turn_of_a_thread_that_is_too_large_fails_without_loading_it(
    open_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = open_bench(limits=Limits(history_bytes=LIMIT))
    large, other = bench.thread(), bench.thread()
    bench.run_turn(large, "one")
    inject(bench, large, LIMIT)
    asked = len(bench.model.requests)
    loaded: list[str] = []

    def note(row: Row[Any]) -> Item:
        loaded.append(row.thread_id)
        return from_row(row)

    monkeypatch.setattr("shared.store.steps.from_row", note)

    turn = bench.run_turn(large, "two")

    assert turn.status == "failed"
    assert turn.error is not None
    assert turn.error["codexErrorInfo"] == "contextWindowExceeded"
    assert "thread/compact/start" in turn.error["message"]
    assert "start a new thread" in turn.error["message"]
    assert (len(bench.model.requests), loaded) == (asked, [])
    assert order.check(bench.events(large)).turns[turn.id] == "failed"
    assert types(bench.shown(large)) == ["userMessage", "agentMessage", "userMessage"]
    assert bench.run_turn(other, "hello").status == "completed"


def test_a_thread_that_is_too_large_goes_on_after_a_compaction(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(history_bytes=LIMIT))
    thread = bench.thread()
    bench.run_turn(thread, "one")
    inject(bench, thread, LIMIT)
    assert bench.run_turn(thread, "two").status == "failed"

    assert compact(bench, thread).status == "completed"

    assert bench.run_turn(thread, "three").status == "completed"


def test_a_thread_that_is_twice_too_large_cannot_be_compacted(open_bench: Callable[..., Bench]) -> None:
    bench = open_bench(limits=Limits(history_bytes=LIMIT))
    thread = bench.thread()
    bench.run_turn(thread, "one")
    inject(bench, thread, 2 * LIMIT)

    turn = compact(bench, thread)

    assert (turn.status, turn.phase) == ("failed", "done")
