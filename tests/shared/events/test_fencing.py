"""Fencing tokens: their order, and the event log that refuses a writer which has been replaced."""

from __future__ import annotations

from itertools import pairwise

import fakeredis
import pytest

from shared.events.fencing import FencingToken
from shared.events.log import Event, EventLog

WORKER = FencingToken.of_worker
AFTER = FencingToken.after_claim
ASCENDING = [WORKER(1), AFTER(1), WORKER(2), AFTER(2), WORKER(9), AFTER(9), WORKER(10), AFTER(10)]


@pytest.fixture
def log() -> EventLog:
    return EventLog(fakeredis.FakeRedis(), max_entries=100, max_bytes=1 << 20)


def publish(log: EventLog, token: FencingToken | None, *, expects_log: bool = False) -> str:
    batch = log.batch("t", "local", [Event("turn/started", {})], token=token, expects_log=expects_log)
    return log.publish([batch])[0]


def test_tokens_are_ordered_by_claim_and_then_by_rank() -> None:
    assert all(smaller < larger for smaller, larger in pairwise(ASCENDING))


def test_log_accepts_ascending_and_repeated_tokens(log: EventLog) -> None:
    assert [publish(log, token) for token in ASCENDING for _ in range(2)] == ["ok"] * 2 * len(ASCENDING)


@pytest.mark.parametrize("seen", range(1, len(ASCENDING)))
def test_log_refuses_every_token_smaller_than_one_it_has_seen(log: EventLog, seen: int) -> None:
    publish(log, ASCENDING[seen])

    assert [publish(log, token) for token in ASCENDING[:seen]] == ["refused"] * seen
    assert log.count("t") == 1


def test_log_accepts_events_of_the_thread_itself_from_any_writer(log: EventLog) -> None:
    publish(log, AFTER(7))

    assert publish(log, None) == "ok"


def test_log_without_a_token_is_empty_for_a_writer_that_expects_its_own_events(log: EventLog) -> None:
    publish(log, None)

    assert publish(log, WORKER(3), expects_log=True) == "empty"
    assert publish(log, WORKER(3)) == "ok"
    assert publish(log, WORKER(3), expects_log=True) == "ok"
