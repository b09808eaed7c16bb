"""The end of a turn by its worker, and input that arrives at the same time."""

from __future__ import annotations

from typing import Any

import pytest

from shared.clock import now_ms
from shared.errors import Conflict
from shared.store import Store
from shared.store.writes import End, Write
from tests.builders import unread_inputs
from tests.shared.store.records import (
    asked,
    at_once,
    begin,
    end,
    phase,
    read_all,
    row,
    running,
    write,
)


def test_a_turn_does_not_end_while_input_is_pending(store: Store) -> None:
    of = running(store)

    refused = write(store, Write(of, append=[row(of)], end=End("completed", now_ms())))
    results = end(store, of)

    assert (refused, results) == (["unread"], ["ok"])
    assert len(store.items.of_turn(of.turn_id)) == 1
    assert phase(store, of) == ("done", "completed")


def test_input_that_is_read_together_with_the_end_is_not_pending(store: Store) -> None:
    of = running(store)

    results = write(store, read_all(store, of), Write(of, end=End("completed", now_ms())))

    assert results == ["ok", "ok"]
    assert phase(store, of) == ("done", "completed")


def test_input_that_races_with_the_end_of_a_turn_is_never_lost(store: Store) -> None:
    claims = [running(store) for _ in range(4)]
    for of in claims:
        write(store, read_all(store, of))

    def call(number: int) -> Any:
        of = claims[number % 4]
        if number < 4:
            return write(store, Write(of, end=End("completed", now_ms())))[0]
        return store.turns.create_or_steer(of.thread_id, "ann", asked("late"), queued_limit=0)[0].id

    results = at_once(8, call)

    for number, of in enumerate(claims):
        went_to = results[number + 4]
        assert (went_to == of.turn_id) is (results[number] == "unread")
        assert len(unread_inputs(store, went_to)) == 1


def test_an_ended_turn_cannot_change(store: Store) -> None:
    of = running(store)
    end(store, of)

    again = write(store, Write(of, end=End("failed", now_ms())))

    assert again == ["lost"]
    assert phase(store, of) == ("done", "completed")
    with pytest.raises(Conflict, match="no active turn to interrupt"):
        store.turns.interrupt(of.thread_id, "ann", None)
    assert begin(store, store.threads.get(of.thread_id, "ann")).id != of.turn_id
