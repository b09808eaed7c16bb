"""The process's one Redis pub/sub connection: which channels are subscribed, and who gets their messages.

Owns the listener thread, the only one that uses the pub/sub connection, and reconnects it. Does not know what the
messages mean: api.delivery.relay does.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import redis

from shared.errors import Unavailable

logger = logging.getLogger(__name__)

Subscriber = TypeVar("Subscriber", bound=Hashable)

SUBSCRIBE_SECONDS = 5.0  # that a request waits for Redis to confirm a subscription
PING_SECONDS = 5.0  # of silence before the listener asks whether Redis still answers
RECONNECT_SECONDS = 0.2


class _PubSub(redis.client.PubSub):
    """As of redis-py (8.1), but it waits for a message by reading it.

    redis-py first polls the socket, then looks whether it is closed: in a gevent process that takes longer than to read
    the message. A connection that breaks is no longer connected again here; the listener does that.
    """

    def parse_response(self, block: bool = True, timeout: float | None = 0) -> Any:
        self.check_health()
        connection: Any = self.connection
        try:
            response = connection.read_response(
                disconnect_on_error=False, push_request=True, timeout=None if block else timeout
            )
        except redis.TimeoutError:
            return None
        if self.is_health_check_response(response):
            self.health_check_response_counter -= 1
            return None
        return response


class _Channel(Generic[Subscriber]):
    """One Redis channel and its subscribers in this process."""

    def __init__(self) -> None:
        self.subscribers: set[Subscriber] = set()
        self.subscribed = threading.Event()


class ChannelListener(Generic[Subscriber]):
    """Subscribers by channel, and the thread that listens for them.

    client:         for the listener alone, without retries: redis-py would hide gaps
    commands:       any client of the same Redis
    handle_message: called in the listener thread with (channel, its subscribers, payload)
    handle_gap:     called in a thread of its own after a reconnect: messages may have been missed
    """

    def __init__(
        self,
        client: redis.Redis,
        commands: redis.Redis,
        handle_message: Callable[[str, tuple[Subscriber, ...], bytes], None],
        handle_gap: Callable[[], None],
    ) -> None:
        self._client: Any = client  # parts of redis-py's pub/sub have no types
        self._commands = commands
        self._handle_message = handle_message
        self._handle_gap = handle_gap
        self._lock = threading.Lock()
        self._channels: dict[str, _Channel[Subscriber]] = {}
        self._to_subscribe: set[str] = set()
        self._to_unsubscribe: set[str] = set()
        self._wake_channel = f"relay:{uuid.uuid4().hex}"
        self._listening = False
        self._closed = False
        self.is_connected = True  # whether messages arrive, as far as is known

    def subscribe(self, name: str, subscriber: Subscriber) -> None:
        """Add a subscriber; return when Redis has confirmed the channel. Errors: Unavailable, redis.RedisError."""
        with self._lock:
            channel = self._channels.setdefault(name, _Channel())
            channel.subscribers.add(subscriber)
            self._to_unsubscribe.discard(name)
            confirmed = channel.subscribed.is_set()
            if not confirmed:
                self._to_subscribe.add(name)
            if not self._listening:
                self._listening = True
                threading.Thread(target=self._listen, name="relay", daemon=True).start()
        if not confirmed:
            try:
                self._wake()
                if not channel.subscribed.wait(SUBSCRIBE_SECONDS):
                    raise Unavailable("Redis does not answer; try again")
            except (Unavailable, redis.RedisError):
                self.unsubscribe(name, subscriber)
                raise

    def unsubscribe(self, name: str, subscriber: Subscriber) -> None:
        """Remove a subscriber, and the channel with its last one."""
        with self._lock:
            channel = self._channels.get(name)
            if channel is None:
                return
            channel.subscribers.discard(subscriber)
            if not channel.subscribers:  # Redis learns of it with the next change or silence; that is not urgent
                del self._channels[name]
                self._to_subscribe.discard(name)
                self._to_unsubscribe.add(name)

    def subscribers(self) -> dict[str, tuple[Subscriber, ...]]:
        """Return the subscribers of each channel."""
        with self._lock:
            return {name: tuple(channel.subscribers) for name, channel in self._channels.items()}

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        if self._listening:
            self._wake()

    def _wake(self) -> None:
        self._commands.publish(self._wake_channel, b"")

    # -- the listener thread

    def _listen(self) -> None:
        is_first = True
        while not self._closed:
            pubsub = _PubSub(self._client.connection_pool)
            try:
                pubsub.subscribe(self._wake_channel)
                self._subscribe_all(pubsub)
                if not self.is_connected:
                    logger.info("connected to Redis again, events arrive")
                self.is_connected = True
                if not is_first:
                    threading.Thread(target=self._handle_gap, name="relay catch-up", daemon=True).start()
                while not self._closed:
                    self._receive(pubsub)
                    time.sleep(0)  # requests go before events: in a gevent process the other greenlets run now
            except (redis.RedisError, OSError) as error:
                if self.is_connected:
                    logger.warning("connection to Redis lost, subscribing until it answers: %s", error)
                self.is_connected = False
            except Exception:
                logger.exception("listener failed, subscribing again")
            finally:
                pubsub.close()
            is_first = False
            if not self._closed:
                self._forget_subscriptions()
                time.sleep(RECONNECT_SECONDS)

    def _subscribe_all(self, pubsub: Any) -> None:
        with self._lock:
            names = list(self._channels)
            self._to_subscribe.clear()
            self._to_unsubscribe.clear()
        if names:
            pubsub.subscribe(*names)

    def _forget_subscriptions(self) -> None:
        with self._lock:
            for channel in self._channels.values():
                channel.subscribed.clear()

    def _receive(self, pubsub: Any) -> None:
        message = pubsub.get_message(timeout=PING_SECONDS)
        if message is None:
            if pubsub.health_check_response_counter > 1:
                raise redis.ConnectionError("Redis did not answer a ping")
            self._change_subscriptions(pubsub)  # also unsubscribe: the retention sweep spares threads with subscribers
            return
        name = message["channel"].decode()
        if name == self._wake_channel:
            self._change_subscriptions(pubsub)
            return
        channel = self._channels.get(name)
        if channel is None:
            return
        if message["type"] == "subscribe":
            channel.subscribed.set()
        elif message["type"] == "message":
            self._handle_message(name, tuple(channel.subscribers), message["data"])

    def _change_subscriptions(self, pubsub: Any) -> None:
        with self._lock:
            to_subscribe, self._to_subscribe = self._to_subscribe, set()
            to_unsubscribe, self._to_unsubscribe = self._to_unsubscribe, set()
        if to_unsubscribe:
            pubsub.unsubscribe(*to_unsubscribe)
        if to_subscribe:
            pubsub.subscribe(*to_subscribe)
