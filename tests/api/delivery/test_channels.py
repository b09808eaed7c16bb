"""The process's Redis pub/sub connection: subscribers get messages, and failed subscriptions leave nothing behind."""

from __future__ import annotations

import logging
import queue
from collections.abc import Iterator

import fakeredis
import pytest
import redis

from api.delivery import channels
from api.delivery.channels import ChannelListener
from shared.errors import Unavailable
from tests.support.wait import until

WAIT_SECONDS = 30.0


class Bench:
    """A listener over a Redis in memory; messages: (channel, subscribers, payload) in their order."""

    def __init__(self) -> None:
        server = fakeredis.FakeServer()
        self.server = server
        self.redis = fakeredis.FakeRedis(server=server)
        self.messages: queue.Queue[tuple[str, tuple[str, ...], bytes]] = queue.Queue()
        self.listener: ChannelListener[str] = ChannelListener(
            fakeredis.FakeRedis(server=server), self.redis, lambda *message: self.messages.put(message), lambda: None
        )


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.server.connected = True
    bench.listener.close()


def test_a_message_is_handled_once_for_all_subscribers_of_its_channel(bench: Bench) -> None:
    bench.listener.subscribe("a", "first")
    bench.listener.subscribe("a", "second")
    bench.listener.subscribe("b", "third")

    bench.redis.publish("a", b"payload")
    bench.redis.publish("b", b"other")

    channel, subscribers, payload = bench.messages.get(timeout=WAIT_SECONDS)
    assert (channel, sorted(subscribers), payload) == ("a", ["first", "second"], b"payload")
    assert bench.messages.get(timeout=WAIT_SECONDS) == ("b", ("third",), b"other")
    assert bench.messages.empty()


def test_a_channel_ends_with_its_last_subscriber(bench: Bench) -> None:
    bench.listener.subscribe("a", "first")
    bench.listener.subscribe("a", "second")

    bench.listener.unsubscribe("a", "first")
    assert bench.listener.subscribers() == {"a": ("second",)}

    bench.listener.unsubscribe("a", "second")
    bench.listener.unsubscribe("a", "second")
    assert bench.listener.subscribers() == {}


def test_a_subscription_that_redis_does_not_confirm_is_forgotten(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.listener.subscribe("a", "first")
    monkeypatch.setattr(channels, "SUBSCRIBE_SECONDS", 0.05)
    monkeypatch.setattr(redis.client.PubSub, "subscribe", lambda *_: None)

    with pytest.raises(Unavailable):
        bench.listener.subscribe("b", "second")

    assert bench.listener.subscribers() == {"a": ("first",)}


def test_a_subscription_that_fails_because_redis_is_away_is_forgotten(bench: Bench) -> None:
    bench.listener.subscribe("a", "first")
    bench.server.connected = False

    with pytest.raises(redis.RedisError):
        bench.listener.subscribe("b", "second")

    assert bench.listener.subscribers() == {"a": ("first",)}


def test_the_listener_knows_whether_messages_arrive_and_logs_an_outage_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.delivery.channels")
    monkeypatch.setattr(channels, "RECONNECT_SECONDS", 0.01)
    tries: list[int] = []
    bench.listener.subscribe("a", "first")
    receive = ChannelListener._receive

    def fail(listener: ChannelListener[str], subscribed: object) -> None:
        if listener is not bench.listener:  # of another test, whose thread still ends
            return receive(listener, subscribed)
        monkeypatch.setattr(ChannelListener, "_receive", receive)
        bench.server.connected = False
        raise redis.ConnectionError("gone")

    monkeypatch.setattr(ChannelListener, "_receive", fail)
    bench.redis.publish("a", b"wakes the listener")
    until(lambda: not bench.listener.is_connected)
    monkeypatch.setattr(channels._PubSub, "close", lambda self: (tries.append(1), self.reset()))
    until(lambda: len(tries) > 3)
    assert not bench.listener.is_connected
    bench.server.connected = True
    until(lambda: bench.listener.is_connected)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
