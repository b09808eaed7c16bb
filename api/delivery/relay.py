"""Published events → the connections that follow their thread.

Owns which connection gets which event; the Redis side is api.delivery.channels, the order of what is sent is
api.delivery.connection. Following works without gap or repetition: subscribe; take one snapshot of the log (its last
id, its open items); read the store; reply; replay the open items; then deliver what came after that id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import orjson
import redis

from api.delivery.channels import ChannelListener
from api.delivery.connection import Connection
from api.delivery.following import FollowStart
from api.delivery.frames import Frame, notification
from shared import telemetry
from shared.event_names import is_user_channel, thread_channel, thread_of_channel, user_channel
from shared.events.log import EventLog, decode_entries, parse_cursor
from shared.protocol.skills import CHANGED

logger = logging.getLogger(__name__)

WAKE_SECONDS = 0.02

MessageHandler = Callable[[bytes], None]


class Relay:
    """The followers of each thread in this process, the connections of each user, and handlers of other channels.

    client:         for the listener alone, as of ChannelListener
    commands:       any client of the same Redis
    republish_turn: called with (owner, turn id) after Redis was away, for each turn whose end a client still awaits
    """

    def __init__(
        self,
        client: redis.Redis,
        commands: redis.Redis,
        log: EventLog,
        republish_turn: Callable[[str, str], None] = lambda owner, turn_id: None,
    ) -> None:
        self._log = log
        self._republish_turn = republish_turn
        self._waking = threading.Lock()
        self._to_wake: set[Connection] = set()
        self._has_to_wake = threading.Event()
        self._waker: threading.Thread | None = None  # kept: a timer for each notification costs as much as sending it
        self._closed = False
        self._channels: ChannelListener[Connection | MessageHandler] = ChannelListener(
            client, commands, self._handle_message, self._catch_up
        )

    def attach(self, connection: Connection) -> None:
        """Deliver user-scope notifications about any of the owner's threads. Errors: Unavailable, redis.RedisError."""
        self._channels.subscribe(user_channel(connection.user_id), connection)

    def detach(self, connection: Connection) -> None:
        """Deliver nothing more to a connection that has ended."""
        self._channels.unsubscribe(user_channel(connection.user_id), connection)
        for thread_id in connection.followed():
            self.unfollow(connection, thread_id)

    def follow(self, connection: Connection, thread_id: str, cursor: str | None = None) -> FollowStart:
        """Begin to follow a thread. The caller has checked its owner and paused it until the reply is queued.

        cursor: id of the last event that the client has seen
        Errors: InvalidParams (the cursor is no event id), Unavailable, redis.RedisError
        """
        if cursor is not None:
            parse_cursor(cursor)
        following = connection.follow(thread_id)
        if following is None:
            return FollowStart(connection.position(thread_id), [])
        try:
            self._channels.subscribe(thread_channel(thread_id), connection)
            snapshot = self._log.snapshot(thread_id)
            if cursor is not None and self._log.is_complete_after(thread_id, cursor, snapshot.last_id):
                following.position, following.lagging = cursor, cursor != snapshot.last_id
                return FollowStart(snapshot.last_id, [])
        except Exception:
            self.unfollow(connection, thread_id)
            raise
        following.position = snapshot.last_id
        return FollowStart(snapshot.last_id, snapshot.open_items, fresh=True, expired=cursor is not None)

    def unfollow(self, connection: Connection, thread_id: str) -> bool:
        """Stop following a thread. Returns whether the connection followed it."""
        self._channels.unsubscribe(thread_channel(thread_id), connection)
        return connection.unfollow(thread_id)

    def subscribe(self, channel: str, handle_message: MessageHandler) -> None:
        """Call `handle_message` in the listener thread for each message of a channel that carries no events.

        Errors: Unavailable, redis.RedisError
        """
        self._channels.subscribe(channel, handle_message)

    def unsubscribe(self, channel: str, handle_message: MessageHandler) -> None:
        """Undo `subscribe`."""
        self._channels.unsubscribe(channel, handle_message)

    @property
    def is_connected(self) -> bool:
        """Whether events arrive, as far as is known: Redis answers."""
        return self._channels.is_connected

    def followers(self, thread_id: str) -> int:
        """Return how many connections of this process follow a thread."""
        return len(self._channels.subscribers().get(thread_channel(thread_id), ()))

    def connections(self) -> int:
        """Return how many WebSockets and event streams are open."""
        channels = self._channels.subscribers().values()
        return len({id(one) for subscribers in channels for one in subscribers if isinstance(one, Connection)})

    def close(self) -> None:
        """Stop listening."""
        self._channels.close()
        self._closed = True
        self._has_to_wake.set()

    # -- in the listener thread

    def _handle_message(self, channel: str, subscribers: tuple[Connection | MessageHandler, ...], data: bytes) -> None:
        connections = [one for one in subscribers if isinstance(one, Connection)]
        thread_id = thread_of_channel(channel)
        if thread_id is not None:
            self._deliver_events(thread_id, connections, data)
        elif is_user_channel(channel):
            self._deliver_user_notifications(connections, data)
        else:
            for handle_message in subscribers:
                if not isinstance(handle_message, Connection):
                    handle_message(data)

    def _deliver_events(self, thread_id: str, connections: list[Connection], announcement: bytes) -> None:
        entries = decode_entries(announcement)
        if not entries:  # too many bytes to be published: they are in the log
            for connection in connections:
                connection.mark_lagging(thread_id)
            return
        telemetry.relayed(entries[0].id)
        frames = [Frame.of_entry(entry) for entry in entries]
        for connection in connections:
            connection.deliver(thread_id, frames)

    def _deliver_user_notifications(self, connections: list[Connection], announcement: bytes) -> None:
        entries = decode_entries(announcement)
        telemetry.relayed(entries[0].id)
        for entry in entries:  # few enough that parsing each for its thread is cheap
            if entry.method == CHANGED:
                for connection in connections:
                    connection.deliver_to_user("", notification(CHANGED, {}))
                continue
            frame = Frame.of_user_notification(entry)
            params = orjson.loads(frame.data)["params"]
            thread_id = params["thread"]["id"] if "thread" in params else params["threadId"]
            for connection in connections:
                connection.deliver_to_user(thread_id, frame)
        self._wake_soon(connections)

    def _wake_soon(self, connections: list[Connection]) -> None:
        """Wake connections a little later, once for all notifications that have come until then.

        Each turn of a user is announced to all connections of the user: sent one by one, the notifications of 200 turns
        to 200 connections would hold up the deltas and requests of all.
        """
        with self._waking:
            self._to_wake.update(connections)
            if self._waker is None:
                self._waker = threading.Thread(target=self._wake_connections, name="relay waker", daemon=True)
                self._waker.start()
        self._has_to_wake.set()

    def _wake_connections(self) -> None:
        while not self._closed:
            self._has_to_wake.wait()
            time.sleep(WAKE_SECONDS)
            self._has_to_wake.clear()
            with self._waking:
                to_wake, self._to_wake = self._to_wake, set()
            try:
                for connection in to_wake:
                    connection.wake()
            except Exception:  # the thread must live
                logger.exception("connections not woken")

    # -- after a reconnect

    def _catch_up(self) -> None:
        """Have every follower read its thread's log, and publish the ends of awaited turns that the log has lost."""
        awaited: set[tuple[str, str]] = set()
        for channel, subscribers in self._channels.subscribers().items():
            thread_id = thread_of_channel(channel)
            if thread_id is None:
                continue
            for connection in subscribers:
                assert isinstance(connection, Connection)
                connection.mark_lagging(thread_id)
                if turn_id := connection.open_turn(thread_id):
                    awaited.add((connection.user_id, turn_id))
        for owner, turn_id in awaited:
            try:
                self._republish_turn(owner, turn_id)
            except Exception:
                logger.exception("end of a turn not republished", extra={"turn_id": turn_id})
