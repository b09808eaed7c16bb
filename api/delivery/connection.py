"""One connected client: what is sent to it, in which order, and how far it has read the logs of its threads.

A Connection owns the outgoing queue, the followed threads and the pauses, under one lock; it reads thread logs and
writes nothing. The queue is bounded: events that do not fit are left out, and read from the thread's log once the
client has caught up. Events of a thread are treated in the same way while a request on the thread is in flight,
because a reply is sent before the events that its request causes. Both cases are one mechanism: a paused or full
connection marks its Following as lagging, and `dequeue` reads the log.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from api.access.caller import Caller
from api.delivery.active_calls import ActiveCalls, SearchSession
from api.delivery.close_codes import LOG_TRIMMED, TRY_AGAIN_LATER, Closed
from api.delivery.following import Following
from api.delivery.frames import Frame
from api.delivery.outgoing import OutgoingQueue
from shared.events.log import PAGE_BYTES, Entry, EventLog

MAX_SLOW_REQUESTS = 64  # requests of one connection that wait for workers at once
PAGE_ENTRIES = 200  # entries that a lagging connection reads from a log at once


class Connection:
    """One WebSocket or event stream. Any thread may call it, but only one may call `dequeue`."""

    def __init__(self, caller: Caller, log: EventLog) -> None:
        self.caller = caller
        self.user_id = caller.user.id
        self.initialized = False
        self.client_name: str | None = None
        self.opted_out: frozenset[str] = frozenset()
        self.calls = ActiveCalls()
        self.searches: dict[str, SearchSession] = {}
        self.slow_requests = threading.BoundedSemaphore(MAX_SLOW_REQUESTS)
        self.release_slot: Callable[[], None] = lambda: None  # ends what api.access.limits counts
        self._log = log
        self._changed = threading.Condition()
        self._outgoing = OutgoingQueue()
        self._on_queued_sent: list[Callable[[], None]] = []  # called when what is queued has been sent
        self._on_sent: list[Callable[[], None]] = []  # the same for what `dequeue` returned last
        self._followings: dict[str, Following] = {}
        self._pauses: Counter[str] = Counter()
        self._closed: Closed | None = None
        self._leaving: Closed | None = None
        self._requests = 0  # in flight

    def initialize(self, client_name: str, opted_out: Iterable[str]) -> None:
        """Complete the handshake. opted_out: methods of notifications that the client does not want."""
        self.client_name = client_name
        self.opted_out = frozenset(opted_out)
        self.initialized = True

    # -- followed threads

    def follow(self, thread_id: str) -> Following | None:
        """Begin to follow a thread; the caller sets the position. None: the connection follows it already."""
        with self._changed:
            if thread_id in self._followings:
                return None
            return self._followings.setdefault(thread_id, Following())

    def unfollow(self, thread_id: str) -> bool:
        """Stop following a thread. Returns whether the connection followed it."""
        with self._changed:
            return self._followings.pop(thread_id, None) is not None

    def followed(self) -> list[str]:
        """Return the ids of the threads that the connection follows."""
        with self._changed:
            return list(self._followings)

    def position(self, thread_id: str) -> str:
        """Return the id of the last event of a followed thread that the client was given."""
        return self._followings[thread_id].position

    def open_turn(self, thread_id: str) -> str | None:
        """Return the id of the thread's turn whose end the client still waits for."""
        following = self._followings.get(thread_id)
        return following.open_turn if following else None

    def find_delivered(self, key: str) -> tuple[str, str] | None:
        """Return the ids of the followed thread and its open turn of which the client has this durable event."""
        with self._changed:
            for thread_id, following in self._followings.items():
                if key in following.delivered_keys:
                    return thread_id, following.open_turn or ""
        return None

    def mark_delivered(
        self, thread_id: str, *, keys: Iterable[str] = (), items: Iterable[str] = (), open_turn: str | None = None
    ) -> None:
        """Record what a reply contains of a followed thread, so that its events are not sent again.

        keys:      of durable events
        items:     ids of completed items
        open_turn: id of the turn that still runs
        """
        with self._changed:
            self._followings[thread_id].mark_delivered(keys, items, open_turn)

    def mark_lagging(self, thread_id: str) -> None:
        """Have the thread's log read again, because announcements may have been missed."""
        with self._changed:
            following = self._followings.get(thread_id)
            if following is not None:
                following.lagging = True
                self._changed.notify_all()

    def pause(self, thread_id: str) -> None:
        """Send no events of a thread until `unpause` was called as often as `pause`."""
        with self._changed:
            self._pauses[thread_id] += 1

    def unpause(self, thread_id: str) -> None:
        """Undo one `pause`."""
        with self._changed:
            self._unpause(thread_id)

    # -- adding frames

    def send(self, frames: Iterable[Frame], on_sent: Callable[[], None] = lambda: None) -> None:
        """Queue frames that no log has, together; wait while the queue is full. Errors: Closed.

        on_sent: called once, when they have been sent or will never be
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._outgoing.is_full)
            if self._closed:
                on_sent()
                raise self._closed
            for frame in frames:
                self._outgoing.append(frame)
            self._on_queued_sent.append(on_sent)
            self._changed.notify_all()

    def deliver(self, thread_id: str, frames: Sequence[Frame]) -> None:
        """Queue new events of a followed thread. Events that cannot be queued now are read from the log later."""
        with self._changed:
            following = self._followings.get(thread_id)
            if following is None or self._closed:
                return
            if thread_id in self._pauses or following.lagging or self._outgoing.is_full:
                following.lagging = True
            else:
                for frame in self._accepted(following, frames):
                    self._outgoing.append(frame)
            self._changed.notify_all()

    def deliver_to_user(self, thread_id: str, frame: Frame) -> None:
        """Queue a user-scope notification about a thread that the connection does not follow, to be sent by `wake`.

        Followers get the same event from the thread's log. A full queue keeps one frame per thread and method; when
        those are too many, the connection ends. The frame must carry no `eventId`: a client takes the largest id that
        it saw of a thread as its cursor, and the events before this one were never sent to a connection that does not
        follow the thread.
        """
        with self._changed:
            if self._closed or not self.initialized or thread_id in self._followings or frame.method in self.opted_out:
                return
            if not self._outgoing.append_latest(thread_id, frame):
                self.close(TRY_AGAIN_LATER, "too slow: too many notifications wait; connect again and list the threads")

    def wake(self) -> None:
        """Have `dequeue` return what `deliver_to_user` has queued, unless an event has done that already."""
        with self._changed:
            self._changed.notify_all()

    # -- removing frames

    def dequeue(self, timeout_s: float) -> list[Frame]:
        """Return the next frames to send, in order; an empty list when none came in time. Those before have been sent.

        Reads one page of a thread's log when the queue is empty and a followed thread is lagging.
        Errors: Closed, redis.RedisError
        """
        with self._changed:
            self._note_sent()
            self._changed.wait_for(self._is_ready, timeout_s)
            if self._outgoing:
                frames = self._outgoing.drain()
                self._on_sent, self._on_queued_sent = self._on_queued_sent, []
                self._changed.notify_all()
                return frames
            if self._closed:
                raise self._closed
            thread_id = self._next_lagging()
            if thread_id is None:
                return []
            following = self._followings[thread_id]
            following.lagging = False
            self._pauses[thread_id] += 1
        return self._read_log(thread_id, following)

    def _read_log(self, thread_id: str, following: Following) -> list[Frame]:
        """Read one page of a thread that `dequeue` has paused."""
        entries: list[Entry] | None = None
        try:
            entries = self._log.read(thread_id, following.position, PAGE_ENTRIES)
            if entries and self._log.was_trimmed(thread_id, following.position):
                reason = "too slow: the thread's log no longer holds the next event; resume the thread"
                raise Closed(LOG_TRIMMED, reason)
        finally:
            with self._changed:
                is_only_pause = self._pauses[thread_id] == 1
                self._unpause(thread_id)
                frames = self._accept_page(following, entries if is_only_pause else None)
        return frames if self._followings.get(thread_id) is following else []

    def _accept_page(self, following: Following, entries: list[Entry] | None) -> list[Frame]:
        """entries: None when the page must be read again: reading failed, or a request has begun whose reply is due."""
        if entries is None:
            following.lagging = True
            return []
        is_full = len(entries) == PAGE_ENTRIES or sum(len(entry.head) for entry in entries) >= PAGE_BYTES
        following.lagging = following.lagging or is_full
        return self._accepted(following, [Frame.of_entry(entry) for entry in entries])

    # -- the end

    @property
    def is_closed(self) -> bool:
        return self._closed is not None

    def close(self, code: int, reason: str) -> None:
        """End the connection; frames that are queued already can still be dequeued."""
        with self._changed:
            self._closed = self._closed or Closed(code, reason)
            self._changed.notify_all()
            self.calls.close(self._closed)

    def discard(self) -> None:
        """Drop what was queued, after the last `dequeue`."""
        with self._changed:
            self._outgoing.drain()
            self._on_sent += self._on_queued_sent
            self._on_queued_sent = []
            self._note_sent()

    @property
    def is_leaving(self) -> bool:
        """Whether the connection ends when its requests are answered."""
        return self._leaving is not None

    def begin_request(self) -> None:
        """Count a request, whose reply `close_when_idle` waits for, until `end_request`."""
        with self._changed:
            self._requests += 1

    def end_request(self) -> None:
        """Undo `begin_request`."""
        with self._changed:
            self._requests -= 1
            self._leave_if_idle()

    def close_when_idle(self, code: int, reason: str) -> None:
        """End the connection as soon as no request is in flight."""
        with self._changed:
            self._leaving = self._leaving or Closed(code, reason)
            self._leave_if_idle()

    # -- under the lock

    def _note_sent(self) -> None:
        sent, self._on_sent = self._on_sent, []
        for on_sent in sent:
            on_sent()

    def _leave_if_idle(self) -> None:
        if self._leaving and not self._requests:
            self.close(self._leaving.code, self._leaving.reason)

    def _unpause(self, thread_id: str) -> None:
        self._pauses[thread_id] -= 1
        if not self._pauses[thread_id]:
            del self._pauses[thread_id]
            self._changed.notify_all()

    def _is_ready(self) -> bool:
        return bool(self._outgoing or self._closed or self._next_lagging())

    def _next_lagging(self) -> str | None:
        lagging = (name for name, one in self._followings.items() if one.lagging and name not in self._pauses)
        return next(lagging, None)

    def _accepted(self, following: Following, frames: Sequence[Frame]) -> list[Frame]:
        return [frame for frame in frames if following.accept(frame) and frame.method not in self.opted_out]
