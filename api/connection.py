"""One client's end: what is to be sent to it, in order, and its place in the logs of the threads that it follows.

The queue is bounded. What does not fit into it is left out and read from the thread's log when the client has taken
what is there; so is what happens in a thread while a request on it is in flight, for a reply goes before the events
that it causes. One mechanism for both: `held` and `behind`.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from api.caller import Caller
from shared.calls import Call
from shared.clock import now_ms
from shared.errors import InvalidRequest
from shared.events import Entry, EventLog, is_after

MAX_QUEUED_FRAMES = 1000
MAX_QUEUED_BYTES = 1024 * 1024
MAX_SLOW_REQUESTS = 64  # that wait for workers at once
PAGE_ENTRIES = 200  # of a log, read at once by a connection that is behind
FELL_OFF = 4409  # close code: the client was so slow that the log no longer holds what it has to hear next


class Frame(NamedTuple):
    """One JSON object on its way to clients; many connections share it. method, id and key: of an event."""

    data: bytes
    method: str = ""
    event_id: str = ""
    key: str = ""
    item_id: str = ""

    @classmethod
    def of(cls, entry: Entry) -> Frame:
        return cls(entry.frame(), entry.method, entry.id, entry.key, entry.item_id)


class Closed(Exception):
    """The connection is over. code, reason: of the WebSocket close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(slots=True)
class Following:
    """A connection's place in one thread's log.

    last_id:   of the last event that it was given, or that the reply before it knew
    behind:    events were left out; the log has them
    passed:    keys of durable events that it was given in the last turn: after Redis lost its log they come again
    contained: items that it was given whole by a reply; their events are not for it
    open_turn: the turn whose end it still has to hear of
    """

    last_id: str
    behind: bool = False
    passed: set[str] = field(default_factory=set)
    contained: set[str] = field(default_factory=set)
    open_turn: str | None = None

    def wants(self, frame: Frame) -> bool:
        """Whether an event is news here; it is taken as given then."""
        if not is_after(frame.event_id, self.last_id):
            return False
        self.last_id = frame.event_id
        if frame.item_id and frame.item_id in self.contained:
            return False
        if frame.key:
            if frame.key in self.passed:
                return False
            self.passed.add(frame.key)
            if frame.method == "turn/started":
                turn_id = frame.key.split(":")[1]
                if turn_id != self.open_turn:
                    self.passed = {key for key in self.passed if turn_id in key}
                self.open_turn = turn_id
            elif frame.method == "turn/completed":
                self.open_turn = None
        return True


@dataclass(slots=True)
class SearchSession:
    """Where a client searches. updates: of its query; only the newest one is answered."""

    roots: list[str]
    updates: int = 0


class Connection:
    """One WebSocket or event stream. Any thread may call it; exactly one takes from it."""

    def __init__(self, caller: Caller, log: EventLog) -> None:
        self.caller = caller
        self.user_id = caller.user.id
        self.initialized = False
        self.client_name: str | None = None
        self.opted_out: frozenset[str] = frozenset()
        self._log = log
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._news: dict[tuple[str, str], Frame] = {}
        self._followings: dict[str, Following] = {}
        self._held: Counter[str] = Counter()
        self.slow_requests = threading.BoundedSemaphore(MAX_SLOW_REQUESTS)
        self.searches: dict[str, SearchSession] = {}
        self._calls: dict[str, Call] = {}
        self._closed: Closed | None = None
        self.leave: Callable[[], None] = lambda: None  # of what counts it

    def initialize(self, client_name: str, opted_out: Iterable[str]) -> None:
        """The handshake was made. opted_out: methods of notifications that it does not want."""
        self.client_name = client_name
        self.opted_out = frozenset(opted_out)
        self.initialized = True

    # -- the threads it follows

    def follow(self, thread_id: str) -> Following | None:
        """Begin to follow, from a place that is still to be said. None: it follows already."""
        with self._changed:
            if thread_id in self._followings:
                return None
            return self._followings.setdefault(thread_id, Following("0-0"))

    def place(self, thread_id: str) -> str:
        """Id of the last event that it was given of a thread that it follows."""
        return self._followings[thread_id].last_id

    def awaits_end_of(self, thread_id: str) -> str | None:
        """The turn whose end it still has to hear of."""
        following = self._followings.get(thread_id)
        return following.open_turn if following else None

    def was_told(
        self, thread_id: str, *, keys: Iterable[str] = (), items: Iterable[str] = (), open_turn: str | None = None
    ) -> None:
        """What the reply has told already: durable events by key, whole items by id, and the turn that is not over."""
        with self._changed:
            following = self._followings[thread_id]
            following.passed.update(keys)
            following.contained.update(items)
            following.open_turn = open_turn or following.open_turn

    def unfollow(self, thread_id: str) -> bool:
        with self._changed:
            return self._followings.pop(thread_id, None) is not None

    def followed(self) -> list[str]:
        with self._changed:
            return list(self._followings)

    def hold(self, thread_id: str) -> None:
        """Keep a thread's events back, until as many calls of `release`."""
        with self._changed:
            self._held[thread_id] += 1

    def release(self, thread_id: str) -> None:
        with self._changed:
            self._unhold(thread_id)

    # -- what workers do for it, which ends with it

    def enter_call(self, name: str, call: Call) -> None:
        """A call begins. Errors: InvalidRequest (one of that name goes on), Closed."""
        with self._changed:
            if self._closed:
                raise self._closed
            if name in self._calls:
                raise InvalidRequest(f"duplicate active {name}")
            self._calls[name] = call

    def leave_call(self, name: str, call: Call) -> None:
        with self._changed:
            if self._calls.get(name) is call:
                del self._calls[name]

    def drop_call(self, name: str) -> None:
        """Another one will take its place."""
        with self._changed:
            call = self._calls.pop(name, None)
        if call is not None:
            call.cancel()

    def find_call(self, name: str) -> Call | None:
        """The call of that name, if it goes on."""
        return self._calls.get(name)

    # -- what is to be sent

    def send(self, frames: Iterable[Frame]) -> None:
        """Queue frames that no log has; waits while the client does not take what is there. Errors: Closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._full())
            if self._closed:
                raise self._closed
            for frame in frames:
                self._append(frame)
            self._changed.notify_all()

    def offer(self, thread_id: str, frames: Sequence[Frame]) -> None:
        """Events of a thread, as they happen; left to the log when they cannot be queued now."""
        with self._changed:
            following = self._followings.get(thread_id)
            if following is None or self._closed:
                return
            if thread_id in self._held or following.behind or self._full():
                following.behind = True
            else:
                for frame in self._wanted(following, frames):
                    self._append(frame)
            self._changed.notify_all()

    def offer_news(self, thread_id: str, frame: Frame) -> None:
        """An event of scope "all"; those of followed threads come with their own. Kept once when it must wait."""
        with self._changed:
            if self._closed or not self.initialized or thread_id in self._followings or frame.method in self.opted_out:
                return
            if self._full() or self._news:
                self._news[(thread_id, frame.method)] = frame
            else:
                self._append(frame)
            self._changed.notify_all()

    def look_into_log(self, thread_id: str) -> None:
        """Announcements may have been missed."""
        with self._changed:
            following = self._followings.get(thread_id)
            if following is not None:
                following.behind = True
                self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        return self._closed is not None

    def close(self, code: int, reason: str) -> None:
        """End it; frames that are queued already are still taken."""
        with self._changed:
            self._closed = self._closed or Closed(code, reason)
            self._changed.notify_all()
            for call in self._calls.values():
                call.cancel()

    # -- the one that sends

    def take(self, timeout_s: float) -> list[Frame]:
        """The next frames to send, in order; none when there was nothing for a while. Errors: Closed."""
        with self._changed:
            self._changed.wait_for(self._has_something, timeout_s)
            if self._frames or self._news:
                frames = [*self._frames, *self._news.values()]
                self._frames.clear()
                self._news.clear()
                self._bytes = 0
                self._changed.notify_all()
                return frames
            if self._closed:
                raise self._closed
            thread_id = self._next_behind()
            if thread_id is None:
                return []
            following = self._followings[thread_id]
            following.behind = False
            self._held[thread_id] += 1
        entries: list[Entry] | None = None
        try:
            entries = self._log.read(thread_id, following.last_id, PAGE_ENTRIES)
            if entries and self._log.fell_off(thread_id, following.last_id):
                raise Closed(FELL_OFF, "too slow: the thread's log no longer holds your place; resume the thread")
        finally:
            with self._changed:
                alone = self._held[thread_id] == 1
                self._unhold(thread_id)
                frames = self._after_reading(following, entries, alone)
        return frames if self._followings.get(thread_id) is following else []

    def _after_reading(self, following: Following, entries: list[Entry] | None, alone: bool) -> list[Frame]:
        if entries is None or not alone:  # it failed, or a request began meanwhile whose reply goes first: read again
            following.behind = True
            return []
        following.behind = following.behind or len(entries) == PAGE_ENTRIES
        return self._wanted(following, [Frame.of(entry) for entry in entries])

    def _unhold(self, thread_id: str) -> None:
        self._held[thread_id] -= 1
        if not self._held[thread_id]:
            del self._held[thread_id]
            self._changed.notify_all()

    def _has_something(self) -> bool:
        return bool(self._frames or self._news or self._closed or self._next_behind())

    def _next_behind(self) -> str | None:
        found = (name for name, one in self._followings.items() if one.behind and name not in self._held)
        return next(found, None)

    def _wanted(self, following: Following, frames: Sequence[Frame]) -> list[Frame]:
        return [frame for frame in frames if following.wants(frame) and frame.method not in self.opted_out]

    def _append(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._bytes += len(frame.data)

    def _full(self) -> bool:
        return len(self._frames) >= MAX_QUEUED_FRAMES or self._bytes >= MAX_QUEUED_BYTES


def notification(method: str, params: object) -> Frame:
    """A frame for one connection only, which no log has."""
    return Frame(orjson.dumps({"method": method, "params": params, "emittedAtMs": now_ms()}), method)
