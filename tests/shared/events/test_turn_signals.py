"""Signals reach every worker process that subscribes."""

from __future__ import annotations

import fakeredis
import pytest

from shared.event_names import TURN_SIGNALS_CHANNEL
from shared.events import turn_signals


@pytest.mark.parametrize("signal", [turn_signals.STEER, turn_signals.INTERRUPT])
def test_a_published_signal_is_parsed_by_each_subscriber(redis: fakeredis.FakeRedis, signal: bytes) -> None:
    workers = [redis.pubsub(ignore_subscribe_messages=True) for _ in range(2)]
    for worker in workers:
        worker.subscribe(TURN_SIGNALS_CHANNEL)
        worker.get_message(timeout=5)

    turn_signals.publish(redis, signal, "T")

    for worker in workers:
        message = worker.get_message(timeout=5)
        assert message is not None
        assert turn_signals.parse(message["data"]) == (signal, "T")
