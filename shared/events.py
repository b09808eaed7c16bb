"""What happened in a thread, for those who watch now: a numbered, capped log per thread in Redis, and its announcement.

One Lua call appends a batch of events to the log, keeps the open items with their text so far, and announces the
batch on the thread's channel (and, for events of scope "all", on the owner's). Ids are those of the stream, so they
grow whoever writes, also after Redis lost everything. A turn's batch carries (writer, number): one that is repeated by
a client library's retry is ignored. Events of a turn carry the claim number of their attempt: a smaller one than the
log has seen is refused. A durable event carries a key: the log takes each key once.

Nothing that matters is only here: all finished items are in the store.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, Literal

import orjson
import redis

from shared.clock import now_ms
from shared.errors import InvalidParams
from shared.protocol.notifications import ALL_SCOPE

LOG_TTL_SECONDS = 3600  # an idle thread's log; what is older is read from the store
NO_EVENT = "0-0"
READ_COUNT = 500  # entries of one page of the log
CURSOR = re.compile(r"\d{1,20}-\d{1,20}")

Role = Literal["", "start", "delta", "end", "keep"]


@dataclass(frozen=True, slots=True)
class Event:
    """One notification, or server request, of a thread.

    method:     "" for a silent one, that only changes what is known of open items
    params:     as the client sees them
    key:        of a durable event ("item:ID:completed"); the log takes it once
    item_id:    the item it belongs to
    role:       "start" opens an item, "delta" adds `text` to its `stream`, "end" closes it,
                "keep" closes all open items but those whose ids stand in `text`
    stream:     which text of the item a delta adds to: the method, and "#index" where it has parts
    request_id: of a server request (PROTOCOL section 8); None for a notification
    """

    method: str
    params: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    item_id: str = ""
    role: Role = ""
    stream: str = ""
    text: str = ""
    request_id: int | None = None

    def head(self) -> bytes:
        """The frame as JSON, less the closing brace: the reader adds the event's id."""
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

    claim_no:    of the attempt that writes, or None for events of the thread itself
    expects_log: True when earlier events of this turn were published: a log without its claim then is a lost one
    number:      grows with each batch of a writer, so that one sent again is known; 0: may be appended twice
    """

    thread_id: str
    owner: str
    events: Sequence[Event]
    claim_no: float | None
    expects_log: bool
    number: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as the log has it. head: the frame without its closing brace."""

    id: str
    method: str
    key: str
    item_id: str
    head: bytes

    def frame(self) -> bytes:
        """The whole JSON object, with the id as the extra member `eventId`."""
        return b'%b,"eventId":"%b"}' % (self.head, self.id.encode())


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item that has started and not ended. texts: stream → text so far."""

    item_id: str
    started: bytes
    texts: dict[str, str]

    def events(self) -> list[bytes]:
        """Frame heads that a follower who comes now must hear: item/started, then each text so far as one delta."""
        params = orjson.loads(self.started + b"}")["params"]
        heads = [self.started]
        for stream, text in self.texts.items():
            method, _, index = stream.partition("#")
            delta = {"threadId": params["threadId"], "turnId": params["turnId"], "itemId": self.item_id, "delta": text}
            if index:
                part = "contentIndex" if method == "item/reasoning/textDelta" else "summaryIndex"
                delta[part] = int(index)
            if method == "item/reasoning/summaryTextDelta":
                added = {k: v for k, v in delta.items() if k != "delta"}
                heads.append(Event("item/reasoning/summaryPartAdded", added).head())
            heads.append(Event(method, delta).head())
        return heads


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a thread's log stands: its last id, and its open items."""

    last_id: str
    open_items: list[OpenItem]


def thread_channel(thread_id: str) -> str:
    return f"events:{{{thread_id}}}"


def owner_channel(owner: str) -> str:
    return f"user:{{{owner}}}"


def parse_cursor(text: str) -> str:
    """An event id as a client gives it back. Errors: InvalidParams."""
    if not CURSOR.fullmatch(text):
        raise InvalidParams(
            f"invalid event id: {text[:40]!r}; expected the eventId of an event, such as 1795345090002-0"
        )
    return text


def is_after(event_id: str, other: str) -> bool:
    """Whether event_id is newer than other."""
    return _order(event_id) > _order(other)


def _order(event_id: str) -> tuple[int, int]:
    ms, _, n = event_id.partition("-")
    return int(ms), int(n)


def decode_announcement(payload: bytes) -> list[Entry]:
    """What a channel delivers: two lines an event, header and frame head (JSON holds no raw line end)."""
    lines = payload.split(b"\n")
    entries = []
    for i in range(0, len(lines) - 1, 2):
        event_id, method, key, item_id = lines[i].decode().split("\t")
        entries.append(Entry(event_id, method, key, item_id, lines[i + 1]))
    return entries


class EventLog:
    """The logs of all threads, written and read over one Redis client (bytes, no decoding)."""

    def __init__(self, client: redis.Redis, *, max_entries: int) -> None:
        self._client = client
        self._max_entries = max_entries
        self._writer = uuid.uuid4().hex
        self._append = client.register_script(_script("events.lua"))
        self._snapshot = client.register_script(_script("events_snapshot.lua"))

    def batch(
        self,
        thread_id: str,
        owner: str,
        events: Iterable[Event],
        *,
        claim_no: float | None = None,
        expects_log: bool = False,
        number: int = 0,
    ) -> Batch:
        """A batch. number: for the one thread of a process that publishes its numbered batches in their order."""
        return Batch(thread_id, owner, list(events), claim_no, expects_log, number)

    def publish(self, batches: Sequence[Batch]) -> list[str]:
        """Append and announce; one round trip.

        Returns: for each batch "ok", "repeated" (it is there already), "refused" (a newer claim has written) or
                 "empty" (the log was lost; nothing was appended: refill it)
        Errors:  redis.RedisError; the batches may then be published again
        """
        if len(batches) == 1:
            return [self._append(**self._call(batches[0])).decode()]
        pipeline = self._client.pipeline(transaction=False)
        for batch in batches:
            self._append(**self._call(batch), client=pipeline)
        return [answer.decode() for answer in pipeline.execute()]

    def _call(self, batch: Batch) -> dict[str, Any]:
        args: list[str | bytes | float] = [
            self._writer,
            batch.number,
            "" if batch.claim_no is None else batch.claim_no,
            self._max_entries,
            LOG_TTL_SECONDS,
            int(batch.expects_log),
            thread_channel(batch.thread_id),
            owner_channel(batch.owner),
            f"th:{{{batch.thread_id}}}:text:",
        ]
        for event in batch.events:
            scope = "all" if event.method in ALL_SCOPE else ""
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
        return {"keys": [_key(batch.thread_id, name) for name in ("log", "keys", "open", "meta")], "args": args}

    def snapshot(self, thread_id: str) -> Snapshot:
        """Where the log stands now, in one step."""
        last_id, found = self._snapshot(
            keys=[_key(thread_id, "log"), _key(thread_id, "open")], args=[f"th:{{{thread_id}}}:text:"]
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
        """Events after after_id, oldest first, at most count."""
        rows: Any = self._client.xrange(_key(thread_id, "log"), min=f"({after_id}", count=count)
        entries = []
        for event_id, fields in rows:
            method, key, item_id = fields[b"h"].decode().split("\t")
            entries.append(Entry(event_id.decode(), method, key, item_id, fields[b"f"]))
        return entries

    def holds(self, thread_id: str, cursor: str, last_id: str) -> bool:
        """Whether the log is known to hold all that came after cursor. last_id: of the log, as a snapshot has it.

        A log that was lost or has expired begins anew and does not know what came before: only NO_EVENT, of one who
        found no event at all, may be older than its first entry.
        """
        if cursor == last_id:
            return True
        if is_after(cursor, last_id):
            return False
        if cursor == NO_EVENT:
            return not self.fell_off(thread_id, cursor)
        first: Any = self._client.xrange(_key(thread_id, "log"), count=1)
        return bool(first) and not is_after(first[0][0].decode(), cursor)

    def fell_off(self, thread_id: str, last_id: str) -> bool:
        """Whether events after last_id were trimmed, for one who has followed since; a log that was lost has none."""
        log = _key(thread_id, "log")
        first: Any = self._client.xrange(log, count=1)
        if first and not is_after(first[0][0].decode(), last_id):
            return False
        added: Any = self._client.hget(_key(thread_id, "meta"), "added")
        length: Any = self._client.xlen(log)
        return int(added or 0) > int(length)

    def count(self, thread_id: str) -> int:
        """How many events a thread's log has."""
        length: Any = self._client.xlen(_key(thread_id, "log"))
        return int(length)

    def delete(self, thread_id: str) -> None:
        """Forget a deleted thread's log."""
        open_fields: Any = self._client.hkeys(_key(thread_id, "open"))
        texts = [f"th:{{{thread_id}}}:text:".encode() + name for name in open_fields]
        self._client.delete(*(_key(thread_id, name) for name in ("log", "keys", "open", "meta")), *texts)


def _key(thread_id: str, name: str) -> str:
    return f"th:{{{thread_id}}}:{name}"


def _script(name: str) -> str:
    return resources.files("shared").joinpath(name).read_text()
