"""A turn reads only what is new of a log that its process knows. tests/workers/conftest.py compares each step."""

from __future__ import annotations

from typing import Any

import pytest

from shared.store import Store
from shared.store.items import Item
from shared.store.steps import Step
from tests.workers.builders import Bench
from workers.agent import known_logs


@pytest.fixture
def read_rows(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Return the kinds of the rows that each step has read, without those of the comparisons."""
    found: list[list[str]] = []
    read = Store.read_step

    def note(store: Store, claim: Any, *args: Any) -> Step:
        step = read(store, claim, *args)
        if args:
            found.append([row.kind for row in step.rows])
        return step

    monkeypatch.setattr(Store, "read_step", note)
    return found


def texts(bench: Bench) -> str:
    """Return what the model was sent last."""
    return str(bench.model.requests[-1])


def test_a_step_and_the_next_turn_read_only_what_is_new(bench: Bench, read_rows: list[list[str]]) -> None:
    thread = bench.thread()

    bench.run_turn(thread, "first [[run echo one]] [[say Done.]]")
    bench.run_turn(thread, "second [[say Yes.]]")

    assert read_rows == [[], [], [], []]
    assert "first" in texts(bench)


def test_a_worker_that_did_not_end_the_last_turn_reads_the_log(bench: Bench, read_rows: list[list[str]]) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "first [[say Hello.]]")
    bench.begin(thread, "second [[say Hello.]]")
    bench.run(bench.worker())
    read_rows.clear()

    bench.run_turn(thread, "third [[say Hello.]]")

    assert read_rows[0].count("userMessage") == 2


def test_turns_that_were_removed_are_not_remembered(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "first [[say Hello.]]")
    removed = bench.run_turn(thread, "forget this [[say Hello.]]")
    bench.workers[0].store.histories.revert(thread.id, thread.owner, removed.id)

    bench.run_turn(thread, "third [[say Hello.]]")

    assert "first" in texts(bench)
    assert "forget this" not in texts(bench)


def test_items_that_were_added_meanwhile_are_read(bench: Bench) -> None:
    thread = bench.thread()
    bench.run_turn(thread, "first [[say Hello.]]")
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "between"}]}
    bench.workers[0].store.histories.inject(thread.id, thread.owner, [message], history_limit=0)

    bench.run_turn(thread, "second [[say Hello.]]")

    assert "first" in texts(bench)
    assert "between" in texts(bench)


def test_logs_have_a_limit_of_bytes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_logs, "KEPT_BYTES", 100)
    claims = []
    for _ in range(3):
        bench.begin(bench.thread(), "[[say Hello.]]")
        claims.append(bench.claim().transcript.claim)
    row = Item("id", "thread", "turn", 1, "answer")
    logs = known_logs.KnownLogs()
    for claim in claims:
        logs.keep(claim, [row], 50)

    later = [type(claim)(claim.turn, claim.claim_no + 1, False, 0) for claim in claims]

    assert [len(logs.take(claim)) for claim in later] == [0, 1, 1]
    assert [len(logs.take(claim)) for claim in later] == [0, 0, 0], "each is given out once"
    logs.keep(claims[0], [row], known_logs.LOG_BYTES + 1)
    assert not logs.take(later[0])
