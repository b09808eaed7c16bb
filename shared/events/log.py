"""The event log: a numbered, capped log per thread in Redis, published to the processes with followers of the thread.

One Lua call appends a batch of events to the log, keeps the open items with their text so far, and publishes the
batch on the thread's channel; user-scope notifications also go to the owner's channel. Event ids are those of the
Redis stream, so they grow whichever process writes, also after Redis lost everything. A turn's batch carries (writer,
number): a batch that a client library's retry repeats is ignored. Events of a turn carry
the fencing token of their writer: the log refuses a token smaller than one it has seen (shared.events.fencing). A
durable event carries a key: the log accepts each key once.

Nothing that matters is only here: all finished items are in the store.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

import orjson
import redis
from redis.exceptions import NoScriptError

from shared.clock import now_ms
from shared.errors import InvalidParams
from shared.event_names import item_key, log_key, text_prefix, thread_channel, user_channel
from shared.events.fencing import FencingToken
from shared.protocol.notifications import REASONING_DELTA, SUMMARY_DELTA, SUMMARY_PART, USER_SCOPE

LOG_TTL_SECONDS = 3600  # an idle thread's log is kept for at most this; followers read older events from the store
NO_EVENT = "0-0"  # the cursor before every event
READ_COUNT = 500  # entries of one page of the log
PAGE_BYTES = 1 << 20  # of the heads of frames, after which a page ends
PARTS: tuple[Literal["log", "keys", "open", "meta"], ...] = ("log", "keys", "open", "meta")  # as log.lua names them
CURSOR = re.compile(r"\d{1,20}-\d{1,20}")

Role = Literal["", "start", "delta", "end", "background", "keep"]


@dataclass(slots=True)
class Event:
    """One notification, or server request, of a thread. It is never changed; not frozen for speed, as Item.

    method:     "" for a silent event, which changes the log's open items and reaches no client
    params:     as the client sees them
    key:        of a durable event (shared.event_names); the log accepts it once
    item_id:    the item it belongs to
    role:       "start" opens an item, "delta" adds `text` to its `stream`, "end" closes it,
                "background" makes an open item outlive its turn,
                "keep" closes all open items except those whose ids stand in `text` and those in the background
    stream:     which text of the item a delta adds to: the method, and "#index" where it has parts
    request_id: of a server request (PROTOCOL section 8); None for a notification
    """

    method: str
    params: Mapping[str, object] = field(default_factory=dict)
    key: str = ""
    item_id: str = ""
    role: Role = ""
    stream: str = ""
    text: str = ""
    request_id: int | None = None

    def head(self) -> bytes:
        """Return the frame as JSON without the closing brace: the reader adds the event's id."""
        if not self.method:
            return b""
        if self.request_id is not None:
            frame = {"id": self.request_id, "method": self.method, "params": self.params}
        else:
            frame = {"method": self.method, "params": self.params, "emittedAtMs": now_ms()}
        return orjson.dumps(frame)[:-1]


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one thread that are appended together, or not at all.

    token:       of the writer of a turn's events, or None for events of the thread itself
    expects_log: True when earlier events of this turn were published: a log without a token was then lost
    number:      grows with each batch of a writer, so that a repeated batch is recognized; 0: may be appended twice
    """

    thread_id: str
    owner: str
    events: Sequence[Event]
    token: FencingToken | None
    expects_log: bool
    number: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One event in the log. head: the frame without its closing brace."""

    id: str
    method: str
    key: str
    item_id: str
    head: bytes

    def frame(self) -> bytes:
        """Return the whole JSON object, with the id as the extra member `eventId`."""
        return b'%b,"eventId":"%b"}' % (self.head, self.id.encode())


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item that has started and not ended. texts: stream → text so far."""

    item_id: str
    started: bytes
    texts: dict[str, str]

    def replay(self) -> list[bytes]:
        """Return the frame heads for a new follower: item/started, then each text so far as one delta."""
        params = orjson.loads(self.started + b"}")["params"]
        heads = [self.started]
        for stream, text in self.texts.items():
            method, _, index = stream.partition("#")
            delta = {"threadId": params["threadId"], "turnId": params["turnId"], "itemId": self.item_id, "delta": text}
            if index:
                part = "contentIndex" if method == REASONING_DELTA else "summaryIndex"
                delta[part] = int(index)
            if method == SUMMARY_DELTA:
                added = {k: v for k, v in delta.items() if k != "delta"}
                heads.append(Event(SUMMARY_PART, added).head())
            heads.append(Event(method, delta).head())
        return heads


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a thread's log: its last id, and its open items."""

    last_id: str
    open_items: list[OpenItem]


def parse_cursor(text: str) -> str:
    """Return the event id that a client sends as its cursor. Errors: InvalidParams."""
    if not CURSOR.fullmatch(text):
        raise InvalidParams(
            f"invalid event id: {text[:40]!r}; expected the eventId of an event, such as 1795345090002-0"
        )
    return text


def is_after(event_id: str, other: str) -> bool:
    """Return whether event_id is newer than other."""
    return _order(event_id) > _order(other)


def _order(event_id: str) -> tuple[int, int]:
    ms, _, n = event_id.partition("-")
    return int(ms), int(n)


def decode_entries(payload: bytes) -> list[Entry]:
    """Return the entries of a message from a thread's or a user's channel.

    A message has two lines per event, header and frame head; JSON never contains a raw line end.
    """
    lines = payload.split(b"\n")
    entries = []
    for i in range(0, len(lines) - 1, 2):
        event_id, method, key, item_id = lines[i].decode().split("\t")
        entries.append(Entry(event_id, method, key, item_id, lines[i + 1]))
    return entries


class EventLog:
    """The logs of all threads, written and read through one Redis client that does not decode replies."""

    def __init__(self, client: redis.Redis, *, max_entries: int, max_bytes: int) -> None:
        """max_entries, max_bytes: of one thread's log; beyond either the oldest events are trimmed."""
        self._client = client
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._writer = uuid.uuid4().hex
        self._append = client.register_script(_script("log.lua"))
        self._snapshot = client.register_script(_script("log_snapshot.lua"))
        self._page = client.register_script(_script("log_page.lua"))

    def batch(
        self,
        thread_id: str,
        owner: str,
        events: Iterable[Event],
        *,
        token: FencingToken | None = None,
        expects_log: bool = False,
        number: int = 0,
    ) -> Batch:
        """Return a batch. number: only for the one thread of a process that publishes its numbered batches in order."""
        return Batch(thread_id, owner, list(events), token, expects_log, number)

    def publish(self, batches: Sequence[Batch]) -> list[str]:
        """Append the batches and publish their events, in one round trip.

        Returns: for each batch "ok", "repeated" (the log has it already), "refused" (a larger token has written) or
                 "empty" (the log was lost; nothing was appended: refill it)
        Errors:  redis.RedisError; the batches may then be published again
        """
        if len(batches) == 1:
            keys, args = self._arguments(batches[0])
            return [self._append(keys, args).decode()]
        pipeline = self._client.pipeline(transaction=False)
        for batch in batches:
            keys, args = self._arguments(batch)
            pipeline.evalsha(self._append.sha, len(keys), *keys, *args)
        # A script object would ask Redis each time whether it still has the script, in a round trip of its own.
        return [self._answer(*pair) for pair in zip(batches, pipeline.execute(raise_on_error=False), strict=True)]

    def _answer(self, batch: Batch, answer: bytes | Exception) -> str:
        """Return what Redis said of a batch. One that has lost its scripts gets the batch again, with the script."""
        if isinstance(answer, NoScriptError):
            return self.publish([batch])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer.decode()

    def _arguments(self, batch: Batch) -> tuple[list[str], list[str | bytes | float]]:
        """Return KEYS and ARGV of log.lua."""
        args: list[str | bytes | float] = [
            self._writer,
            batch.number,
            "" if batch.token is None else batch.token.encode(),
            self._max_entries,
            self._max_bytes,
            LOG_TTL_SECONDS,
            int(batch.expects_log),
            thread_channel(batch.thread_id),
            user_channel(batch.owner),
            text_prefix(batch.thread_id),
            item_key("%s", "completed"),
        ]
        for event in batch.events:
            scope = "user" if event.method in USER_SCOPE else ""
            args += [
                event.method,
                event.key,
                event.item_id,
                event.role,
                event.stream,
                scope,
                event.head(),
                event.text.encode(),
            ]
        return [log_key(batch.thread_id, part) for part in PARTS], args

    def snapshot(self, thread_id: str) -> Snapshot:
        """Return the log's last id and its open items, read in one step. Errors: redis.RedisError."""
        last_id, found = self._snapshot(
            keys=[log_key(thread_id, "log"), log_key(thread_id, "open")], args=[text_prefix(thread_id)]
        )
        started: dict[str, bytes] = {}
        texts: dict[str, dict[str, str]] = {}
        for name, value in zip(found[::2], found[1::2], strict=True):
            item_id, tab, stream = name.decode().partition("\t")
            if tab:
                texts.setdefault(item_id, {})[stream] = value.decode("utf-8", "replace")
            else:
                started[item_id] = value
        items = [OpenItem(item_id, started[item_id], texts.get(item_id, {})) for item_id in sorted(started)]
        return Snapshot(last_id.decode(), items)

    def read(self, thread_id: str, after_id: str, count: int = READ_COUNT) -> list[Entry]:
        """Return the events after after_id, oldest first: at most count, and no more after PAGE_BYTES.

        Errors: redis.RedisError
        """
        rows: Any = self._page(keys=[log_key(thread_id, "log")], args=[after_id, count, PAGE_BYTES])
        entries = []
        for event_id, fields in rows:
            values = dict(zip(fields[::2], fields[1::2], strict=True))
            method, key, item_id = values[b"h"].decode().split("\t")
            entries.append(Entry(event_id.decode(), method, key, item_id, values[b"f"]))
        return entries

    def keys_after(self, thread_id: str, after_id: str) -> set[str]:
        """Return the keys of the events after after_id. Errors: redis.RedisError."""
        keys: set[str] = set()
        while page := self.read(thread_id, after_id):
            keys.update(entry.key for entry in page)
            after_id = page[-1].id
        return keys

    def is_complete_after(self, thread_id: str, cursor: str, last_id: str) -> bool:
        """Return whether the log is known to have all events after cursor. last_id: the log's, from a snapshot.

        A log that was lost or has expired starts again without its earlier events. Therefore a cursor may be older
        than the log's first entry only when it is NO_EVENT: its client had found no event at all.
        """
        if cursor == last_id:
            return True
        if is_after(cursor, last_id):
            return False
        if cursor == NO_EVENT:
            return not self.was_trimmed(thread_id, cursor)
        first: Any = self._client.xrange(log_key(thread_id, "log"), count=1)
        return bool(first) and not is_after(first[0][0].decode(), cursor)

    def was_trimmed(self, thread_id: str, last_id: str) -> bool:
        """Return whether events after last_id were trimmed, for a client that has followed since last_id.

        False for a log that was lost: it has trimmed nothing.
        """
        log = log_key(thread_id, "log")
        first: Any = self._client.xrange(log, count=1)
        if first and not is_after(first[0][0].decode(), last_id):
            return False
        added: Any = self._client.hget(log_key(thread_id, "meta"), "added")
        length: Any = self._client.xlen(log)
        return int(added or 0) > int(length)

    def count(self, thread_id: str) -> int:
        """Return how many events a thread's log has. Errors: redis.RedisError."""
        length: Any = self._client.xlen(log_key(thread_id, "log"))
        return int(length)

    def delete(self, thread_id: str) -> None:
        """Delete the log of a deleted thread. Errors: redis.RedisError."""
        open_fields: Any = self._client.hkeys(log_key(thread_id, "open"))
        texts = [text_prefix(thread_id).encode() + name for name in open_fields]
        self._client.delete(*(log_key(thread_id, part) for part in PARTS), *texts)


def _script(name: str) -> str:
    return resources.files("shared.events").joinpath(name).read_text()
