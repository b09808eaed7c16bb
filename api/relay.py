"""Events → the connections that follow their thread: one Redis listener a process, whatever the number of clients.

Following without gap or repetition: subscribe; one look at the log (its last id, its open items); then the store; the
reply; then the open items; then what came after that id (api.connection).
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from api.connection import Connection, Frame
from shared import telemetry
from shared.errors import Unavailable
from shared.events import (
    EventLog,
    OpenItem,
    decode_announcement,
    owner_channel,
    parse_cursor,
    thread_channel,
)

logger = logging.getLogger(__name__)

SUBSCRIBE_SECONDS = 5.0  # a request waits no longer for Redis to confirm a subscription
PING_SECONDS = 10.0  # of silence; then the listener asks whether Redis is still there
RECONNECT_SECONDS = 0.2


@dataclass(slots=True)
class Start:
    """From where on a connection follows a thread.

    last_id:    of the last event that the look at the log saw; the connection gets what comes after it
    open_items: what it has to hear first; none for one that follows already, or that came with a cursor
    fresh:      it did not follow before, and came without a cursor that the log holds
    expired:    it came with a cursor that the log no longer holds
    """

    last_id: str
    open_items: list[OpenItem]
    fresh: bool = False
    expired: bool = False

    def frames(self, contained: Collection[str] = ()) -> list[Frame]:
        """The open items less those that the reply contains; the last frame carries the place reached as eventId."""
        items = [item for item in self.open_items if item.item_id not in contained]
        heads = [head for item in items for head in item.events()]
        frames = [Frame(head + b"}", _method(head)) for head in heads[:-1]]
        if heads:
            whole = b'%b,"eventId":"%b"}' % (heads[-1], self.last_id.encode())
            frames.append(Frame(whole, _method(heads[-1]), self.last_id))
        return frames


def _method(head: bytes) -> str:
    return str(orjson.loads(head + b"}")["method"])


class _Channel:
    """One Redis channel, and who hears it here."""

    def __init__(self) -> None:
        self.hearers: set[Any] = set()  # connections; or functions, of a channel that has no events
        self.subscribed = threading.Event()


class Relay:
    """Which connection hears what, and the one listener.

    client:    for the listener alone: without a socket time-out and without retries, whose gaps nobody would notice
    commands:  any client of the same Redis
    told_late: called with (thread id, owner, turn id) after Redis was away, for each turn whose end is still awaited
    """

    def __init__(
        self,
        client: redis.Redis,
        commands: redis.Redis,
        log: EventLog,
        told_late: Callable[[str, str, str], None] = lambda thread_id, owner, turn_id: None,
    ) -> None:
        self._client: Any = client  # parts of redis-py's pub/sub have no types
        self._commands = commands
        self._log = log
        self._told_late = told_late
        self._lock = threading.Lock()
        self._channels: dict[str, _Channel] = {}
        self._wanted: set[str] = set()  # channels whose subscription is to be made
        self._unwanted: set[str] = set()
        self._bell = f"relay:{uuid.uuid4().hex}"  # wakes the listener, the only one that uses its connection
        self._listening = False
        self._closed = False

    def attach(self, connection: Connection) -> None:
        """The connection hears what happens to any thread of its owner (scope "all"). Errors: Unavailable."""
        self._hear(owner_channel(connection.user_id), connection)

    def follow(self, connection: Connection, thread_id: str, cursor: str | None = None) -> Start:
        """Begin to follow a thread that the caller has checked to be the owner's.

        The caller holds the thread's events until its reply is queued (`Connection.hold`).
        cursor: id of the last event that the client has seen
        Errors: InvalidParams (no cursor at all), Unavailable, redis.RedisError
        """
        if cursor is not None:
            parse_cursor(cursor)
        following = connection.follow(thread_id)
        if following is None:
            return Start(connection.place(thread_id), [])
        try:
            self._hear(thread_channel(thread_id), connection)
            snapshot = self._log.snapshot(thread_id)
            if cursor is not None and self._log.holds(thread_id, cursor, snapshot.last_id):
                following.last_id, following.behind = cursor, cursor != snapshot.last_id
                return Start(snapshot.last_id, [])
        except Exception:
            self.unfollow(connection, thread_id)
            raise
        following.last_id = snapshot.last_id
        return Start(snapshot.last_id, snapshot.open_items, fresh=True, expired=cursor is not None)

    def unfollow(self, connection: Connection, thread_id: str) -> bool:
        """Whether it did follow."""
        self._leave(thread_channel(thread_id), connection)
        return connection.unfollow(thread_id)

    def detach(self, connection: Connection) -> None:
        """The connection is gone."""
        self._leave(owner_channel(connection.user_id), connection)
        for thread_id in connection.followed():
            self.unfollow(connection, thread_id)

    def subscribe(self, channel: str, hear: Callable[[bytes], None]) -> None:
        """Hear a channel that has no events; `hear` is called in the listener. Errors: Unavailable, RedisError."""
        self._hear(channel, hear)

    def unsubscribe(self, channel: str, hear: Callable[[bytes], None]) -> None:
        self._leave(channel, hear)

    def connections(self) -> int:
        """How many are open, sockets and event streams."""
        with self._lock:
            hearers = [hearer for channel in self._channels.values() for hearer in channel.hearers]
        return len({id(hearer) for hearer in hearers if isinstance(hearer, Connection)})

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        if self._listening:
            self._commands.publish(self._bell, b"")

    # -- channels

    def _hear(self, name: str, hearer: Connection | Callable[[bytes], None]) -> None:
        with self._lock:
            channel = self._channels.setdefault(name, _Channel())
            channel.hearers.add(hearer)
            self._unwanted.discard(name)
            ready = channel.subscribed.is_set()
            if not ready:
                self._wanted.add(name)
            if not self._listening:
                self._listening = True
                threading.Thread(target=self._listen, name="relay", daemon=True).start()
        if not ready:
            self._commands.publish(self._bell, b"")
            if not channel.subscribed.wait(SUBSCRIBE_SECONDS):
                self._leave(name, hearer)
                raise Unavailable("Redis does not answer; try again")

    def _leave(self, name: str, hearer: Connection | Callable[[bytes], None]) -> None:
        with self._lock:
            channel = self._channels.get(name)
            if channel is None:
                return
            channel.hearers.discard(hearer)
            if not channel.hearers:  # the next wake-up or silence unsubscribes; that need not be now
                del self._channels[name]
                self._wanted.discard(name)
                self._unwanted.add(name)

    # -- the listener

    def _listen(self) -> None:
        again = False
        while not self._closed:
            pubsub = self._client.pubsub()
            try:
                pubsub.subscribe(self._bell)
                self._subscribe_all(pubsub)
                if again:
                    threading.Thread(target=self._catch_up, name="relay catch-up", daemon=True).start()
                while not self._closed:
                    self._hear_one(pubsub)
            except (redis.RedisError, OSError) as error:
                logger.warning("listener lost Redis: %s", error)
                self._forget_subscriptions()
                again = True
                time.sleep(RECONNECT_SECONDS)
            except Exception:
                logger.exception("listener failed")
                self._forget_subscriptions()
                again = True
                time.sleep(RECONNECT_SECONDS)
            finally:
                pubsub.close()

    def _subscribe_all(self, pubsub: Any) -> None:
        with self._lock:
            names = list(self._channels)
            self._wanted.clear()
            self._unwanted.clear()
        if names:
            pubsub.subscribe(*names)

    def _forget_subscriptions(self) -> None:
        with self._lock:
            for channel in self._channels.values():
                channel.subscribed.clear()

    def _hear_one(self, pubsub: Any) -> None:
        message = pubsub.get_message(timeout=PING_SECONDS)
        if message is None:
            if pubsub.health_check_response_counter > 1:
                raise redis.ConnectionError("no answer to a ping")
            self._change_subscriptions(pubsub)  # a thread that somebody follows is not swept
            return
        name = message["channel"].decode()
        if name == self._bell:
            self._change_subscriptions(pubsub)
            return
        channel = self._channels.get(name)
        if channel is None:
            return
        if message["type"] == "subscribe":
            channel.subscribed.set()
        elif message["type"] == "message":
            self._pass_on(name, channel, message["data"])

    def _change_subscriptions(self, pubsub: Any) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, set()
            unwanted, self._unwanted = self._unwanted, set()
        if unwanted:
            pubsub.unsubscribe(*unwanted)
        if wanted:
            pubsub.subscribe(*wanted)

    def _pass_on(self, name: str, channel: _Channel, payload: bytes) -> None:
        if not name.startswith(("events:", "user:")):
            for hear in tuple(channel.hearers):
                hear(payload)
            return
        entries = decode_announcement(payload)
        telemetry.relayed(entries[0].id)
        if name.startswith("events:"):
            thread_id = name[len("events:{") : -1]
            frames = [Frame.of(entry) for entry in entries]
            for connection in tuple(channel.hearers):
                connection.offer(thread_id, frames)
            return
        for entry in entries:  # of scope "all": few, so that looking inside for the thread costs nothing
            params = orjson.loads(entry.head + b"}")["params"]
            thread_id = params["thread"]["id"] if "thread" in params else params["threadId"]
            for connection in tuple(channel.hearers):
                connection.offer_news(thread_id, Frame.of(entry))

    def _catch_up(self) -> None:
        """Announcements were missed while Redis was away: every live log is read again from each one's last id."""
        awaited: set[tuple[str, str, str]] = set()
        with self._lock:
            channels = {name: tuple(one.hearers) for name, one in self._channels.items() if name.startswith("events:")}
        for name, hearers in channels.items():
            thread_id = name[len("events:{") : -1]
            for connection in hearers:
                connection.look_into_log(thread_id)
                if turn_id := connection.awaits_end_of(thread_id):
                    awaited.add((thread_id, connection.user_id, turn_id))
        for thread_id, owner, turn_id in awaited:
            try:
                self._told_late(thread_id, owner, turn_id)
            except Exception:
                logger.exception("an end could not be told", extra={"turn_id": turn_id})
