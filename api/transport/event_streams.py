"""Server-sent events over HTTP: a thread's events, and methods whose result is the first event of a stream.

Owns the life of an event stream's Connection, from its counted slot to its end. The protocol's requests are handled by
api.transport.dispatch.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, cast

import orjson
import redis
from flask import Response, request

from api.access.caller import Caller
from api.delivery.close_codes import Closed
from api.delivery.connection import Connection
from api.delivery.following import FollowStart
from api.delivery.frames import Frame, notification
from api.requests.context import Context
from api.requests.services import Services
from api.requests.subscriptions import follow, replay
from api.transport import dispatch
from api.transport.credential_watch import CredentialWatch
from api.transport.drain import Drain
from shared.event_names import turn_key
from shared.events import durable_events
from shared.protocol.turn import TurnObject
from shared.store.threads import Thread
from shared.store.turns import Turn

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 10.0
RETRY_SECONDS = 1.0  # before the log is read again that Redis did not give
EVENT_STREAM = "text/event-stream"
STREAMED_METHODS = ("thread/start", "thread/resume", "turn/start")  # with Accept: text/event-stream
CURSOR_EXPIRED = "threadhouse/cursorExpired"
View = Callable[[Frame], Frame | None]  # gives an event as a client may see it; None: not at all


class EventStreams:
    """Opens the event streams of one API process."""

    def __init__(self, services: Services, watch: CredentialWatch, drain: Drain) -> None:
        self._services = services
        self._watch = watch
        self._drain = drain

    def follow_thread(
        self,
        caller: Caller,
        thread_id: str,
        cursor: str | None,
        *,
        view: View | None = None,
        counted_as: str | None = None,
    ) -> Response:
        """Return a stream of what happens in a thread, until the client leaves.

        cursor:     id of the last event that the client has seen
        view:       of a reader by link, who gets nothing that the user gets of other threads
        counted_as: name under which the limits count the stream, if not the user's
        Errors: NotFound, Overloaded, InvalidParams (the cursor), Unavailable
        """
        ctx, connection = self._open(caller)
        connection.initialized = view is None  # only initialized connections get notifications about other threads
        thread = ctx.get_thread(thread_id)
        try:
            connection.release_slot = self._services.limits.count_connection(counted_as or ctx.user_id)
            start = follow(ctx, thread.id, cursor)
            assert start is not None
            first = self._replay(ctx, thread, start)
            position = "" if ctx.frames else connection.position(thread.id)
            connection.send(first + ctx.frames)
        except Exception:
            self._end(connection)
            raise
        finally:
            ctx.finish()
        # Clients get the headers with the first bytes. An id without data gives them a cursor and no event.
        opening = b"id: %b\n\n" % position.encode() if position else b": connected\n\n"
        return self._respond(connection, lambda frame: False, opening, view)

    def follow_user(self, caller: Caller) -> Response:
        """Return a stream of the user-scope notifications about all threads of the caller, until the client leaves.

        They are stored in no log: a client that connects again lists its threads again.
        Errors: Overloaded, Unavailable
        """
        _, connection = self._open(caller)
        try:
            connection.release_slot = self._services.limits.count_connection(caller.user_id)
            self._services.relay.attach(connection)
        except Exception:
            self._end(connection)
            raise
        return self._respond(connection, lambda frame: False, b": connected\n\n")

    def call_method(self, caller: Caller, method: str, params: Mapping[str, object]) -> Response:
        """Return a stream of one of STREAMED_METHODS: the result, then the thread's events until the turn ends."""
        ctx, connection = self._open(caller)
        try:
            connection.release_slot = self._services.limits.count_connection(caller.user_id)
            thread_id = params.get("threadId")
            if method == "turn/start" and isinstance(thread_id, str):
                thread = ctx.get_thread(thread_id)
                start = follow(ctx, thread.id)
                assert start is not None
                self._replay(ctx, thread, start)
            result = dispatch.call(ctx, method, params)
            turn = cast(TurnObject, result["turn"]) if method == "turn/start" else None
            following = (self._ended_turn(ctx, turn) if turn else []) or ctx.frames
            position = "" if following else connection.position(connection.followed()[0])
            data = orjson.dumps({"result": result})
            release = self._services.limits.replies.reserve(ctx.user_id, len(data))
            connection.send([Frame(data, "result", position), *following], release)
        except Exception:
            self._end(connection)
            raise
        finally:
            ctx.finish()
        if turn is not None:
            last = turn_key(turn["id"], "completed")
            return self._respond(connection, lambda frame: frame.key == last)
        return self._respond(connection, lambda frame: frame.method == "turn/completed")

    def _open(self, caller: Caller) -> tuple[Context, Connection]:
        self._drain.check()
        connection = Connection(caller, self._services.events)
        connection.initialized = True
        return Context(self._services, caller, connection), connection

    def _replay(self, ctx: Context, thread: Thread, start: FollowStart) -> list[Frame]:
        """Add the open items and approval requests to ctx.frames.

        Returns: the frames before them: for an expired cursor, where to read the events that the client has missed
        """
        if not start.fresh:
            return []
        turns = ctx.store.turns.of_thread(thread.id, ctx.user_id, descending=True, limit=1)
        pending = ctx.store.approvals.pending(thread.id, ctx.user_id)
        # Read the thread again, after the log's snapshot, so that it has what the snapshot covers.
        replay(ctx, ctx.get_thread(thread.id), start, last_turn=turns[0] if turns else None, pending=pending)
        if not start.expired:
            return []
        params = {"threadId": thread.id, "message": "events were missed; read the thread with thread/read"}
        return [notification(CURSOR_EXPIRED, params)]

    def _ended_turn(self, ctx: Context, turn: TurnObject) -> list[Frame]:
        """Return turn/completed of a turn that has ended already, because the client repeated its request."""
        if turn["status"] == "inProgress":
            return []
        stored: Turn = ctx.store.turns.get(turn["id"], ctx.user_id)
        final = durable_events.final_message(ctx.store.items.of_turn(stored.id))
        return [Frame.of_event(durable_events.turn_ended(stored, final)[-1])]

    def _respond(
        self,
        connection: Connection,
        is_last: Callable[[Frame], bool],
        opening: bytes = b"",
        view: View | None = None,
    ) -> Response:
        events = _events(connection, is_last, opening, view, lambda: self._services.relay.is_connected)
        response = Response(events, content_type=EVENT_STREAM)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"
        self._watch.add(connection, partial(_shut_down, request.environ.get("gunicorn.socket")))
        response.call_on_close(lambda: self._end(connection))
        return response

    def _end(self, connection: Connection) -> None:
        self._watch.remove(connection)
        connection.discard()
        self._services.relay.detach(connection)
        connection.release_slot()


def _events(
    connection: Connection,
    is_last: Callable[[Frame], bool],
    opening: bytes,
    view: View | None,
    is_live: Callable[[], bool],
) -> Iterator[bytes]:
    """Yield the stream's bytes.

    is_last: whether the stream ends with this frame
    is_live: whether events arrive. While none can, the stream is silent, so that its client notices and connects again
    """
    if opening:
        yield opening
    while True:
        try:
            frames = connection.dequeue(KEEP_ALIVE_SECONDS)
        except redis.RedisError as error:
            logger.warning("event log of a thread not read, retrying: %s", error)
            time.sleep(RETRY_SECONDS)
            continue
        except Closed:
            for thread_id in connection.followed():  # the cursor from which the client continues
                yield b"id: %b\n\n" % connection.position(thread_id).encode()
            return
        if view is not None:
            frames = [seen for frame in frames if (seen := view(frame)) is not None]
        if not frames and is_live():
            yield b": keep-alive\n\n"
        for index, frame in enumerate(frames):
            if is_last(frame):
                yield b"".join(map(_encode, frames[: index + 1]))
                return
        if frames:
            yield b"".join(map(_encode, frames))


def _encode(frame: Frame) -> bytes:
    """Return a frame as one server-sent event; its JSON contains no raw line end."""
    head = b"id: %b\n" % frame.event_id.encode() if frame.event_id else b""
    return b"%bevent: %b\ndata: %b\n\n" % (head, frame.method.encode(), frame.data)


def _shut_down(stream: socket.socket | Any) -> None:
    """Shut down the socket of a stream whose client does not read."""
    if stream is not None:
        with suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)
