"""Following: how far one connection has read one thread's log, and which events its client has already.

Owns the decision whether an event is sent to a client or dropped as a repetition. Touches neither Redis nor locks:
Connection calls it under its lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import orjson

from api.delivery.frames import Frame
from shared.event_names import parse_key
from shared.events.log import NO_EVENT, OpenItem, is_after


@dataclass(slots=True)
class Following:
    """One connection's position in one thread's log.

    position:        id of the last event that the client was given, or that the reply before it covers
    lagging:         events were left out of the queue; they are read from the log
    delivered_keys:  keys of durable events of the last turn that the client has: they are published again after Redis
                     has lost its log
    replied_items:   ids of items that a reply contained as completed; their events are dropped
    open_turn:       id of the turn whose end the client still waits for
    """

    position: str = NO_EVENT
    lagging: bool = False
    delivered_keys: set[str] = field(default_factory=set)
    replied_items: set[str] = field(default_factory=set)
    open_turn: str | None = None

    def accept(self, frame: Frame) -> bool:
        """Whether the client still needs this event; if so, record that it was given."""
        if not is_after(frame.event_id, self.position):
            return False
        self.position = frame.event_id
        if frame.item_id and frame.item_id in self.replied_items:
            return False
        if frame.key:
            if frame.key in self.delivered_keys:
                return False
            self.delivered_keys.add(frame.key)
            self._note_turn(frame)
        return True

    def _note_turn(self, frame: Frame) -> None:
        if frame.method == "turn/started":
            turn_id = parse_key(frame.key).record_id
            if turn_id != self.open_turn:
                self.delivered_keys = {key for key in self.delivered_keys if turn_id in key}
            self.open_turn = turn_id
        elif frame.method == "turn/completed":
            self.open_turn = None

    def mark_delivered(self, keys: Iterable[str], items: Iterable[str], open_turn: str | None) -> None:
        """Record what a reply contains: durable events by key, completed items by id, and the turn that still runs."""
        self.delivered_keys.update(keys)
        self.replied_items.update(items)
        self.open_turn = open_turn or self.open_turn


@dataclass(slots=True)
class FollowStart:
    """From where a connection follows a thread.

    position:   id of the last event in the log's snapshot; the connection gets what comes after it
    open_items: items to replay first; none for a connection that follows already or that came with a cursor
    fresh:      the connection did not follow before, and came without a cursor that the log still holds
    expired:    the connection came with a cursor that the log no longer holds
    """

    position: str
    open_items: list[OpenItem]
    fresh: bool = False
    expired: bool = False

    def frames(self, replied_items: Collection[str] = ()) -> list[Frame]:
        """Replay the open items that the reply does not contain; the last frame carries `position` as its eventId."""
        items = [item for item in self.open_items if item.item_id not in replied_items]
        heads = [head for item in items for head in item.replay()]
        frames = [Frame(head + b"}", _method(head)) for head in heads[:-1]]
        if heads:
            data = b'%b,"eventId":"%b"}' % (heads[-1], self.position.encode())
            frames.append(Frame(data, _method(heads[-1]), self.position))
        return frames


def _method(head: bytes) -> str:
    return str(orjson.loads(head + b"}")["method"])
