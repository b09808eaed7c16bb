"""An outage of the database delays a turn between two writes, and does not end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.workers.builders import Bench


class Failing:
    """A call of the store that fails a number of times. stores: it takes effect all the same, as with a lost reply."""

    def __init__(self, call: Callable[..., Any], times: int, *, stores: bool = False) -> None:
        self._call = call
        self._left = times
        self._stores = stores

    def __call__(self, *args: Any, **options: Any) -> Any:
        if self._left == 0:
            return self._call(*args, **options)
        self._left -= 1
        if self._stores:
            self._call(*args, **options)
        raise OperationalError(None, None, Exception("no answer"))


def test_turn_waits_for_the_database_between_its_steps(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store = bench.workers[0].store
    thread = bench.thread()
    turn = bench.begin(thread, "[[run echo ran]][[say fine]]")
    monkeypatch.setattr(store, "read_step", Failing(store.read_step, 2))

    bench.run()

    assert bench.turn(turn).status == "completed"
    assert bench.turn(turn).claim_no == 1
    assert [item["type"] for item in bench.shown(thread)] == ["userMessage", "commandExecution", "agentMessage"]


def test_request_is_stored_once_when_its_reply_was_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = bench.workers[0].store.claims
    thread = bench.thread(approvalPolicy="untrusted")
    turn = bench.begin(thread, "[[run touch made]][[say fine]]")
    monkeypatch.setattr(claims, "park", Failing(claims.park, 1, stores=True))

    bench.run()

    assert bench.turn(turn).phase == "parked"
    assert len(bench.workers[0].store.approvals.of_turn(turn.id)) == 1


def test_claim_whose_reply_was_lost_is_used(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = bench.workers[0].store.claims
    thread = bench.thread()
    turn = bench.begin(thread, "[[say fine]]")
    monkeypatch.setattr(claims, "claim", Failing(claims.claim, 1, stores=True))

    bench.run()

    assert bench.turn(turn).status == "completed"
    assert bench.turn(turn).claim_no == 1
