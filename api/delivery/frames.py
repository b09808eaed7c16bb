"""Frames: JSON objects on their way to clients. Each is encoded once and shared by all connections that send it."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from shared.clock import now_ms
from shared.events.log import Entry, Event


class Frame(NamedTuple):
    """One JSON object to send. method, event_id, key and item_id are those of an event, and empty otherwise."""

    data: bytes
    method: str = ""
    event_id: str = ""
    key: str = ""
    item_id: str = ""

    @classmethod
    def of_entry(cls, entry: Entry) -> Frame:
        """An event as a thread's log holds it, with its `eventId`."""
        return cls(entry.frame(), entry.method, entry.id, entry.key, entry.item_id)

    @classmethod
    def of_user_notification(cls, entry: Entry) -> Frame:
        """An event for connections that do not follow its thread: an `eventId` is a cursor of followers alone."""
        return cls(entry.head + b"}", entry.method)

    @classmethod
    def of_event(cls, event: Event) -> Frame:
        """An event that is sent to one connection apart from the log, without an `eventId`."""
        return cls(event.head() + b"}", event.method, key=event.key)


def notification(method: str, params: object) -> Frame:
    """Return a notification that is sent to one connection and stored in no log."""
    return Frame(orjson.dumps({"method": method, "params": params, "emittedAtMs": now_ms()}), method)
