"""Joins deltas, so that an item has at most one delta per stream and batch."""

from __future__ import annotations

from collections.abc import Sequence

from shared.events.log import Event
from shared.protocol.notifications import DELTAS


def append_joined(outbox: list[Event], events: Sequence[Event]) -> None:
    """Append events to the outbox; a delta is joined with a directly preceding delta of the same text."""
    for event in events:
        last = outbox[-1] if outbox else None
        if (
            last is not None
            and event.method in DELTAS
            and last.stream == event.stream
            and last.item_id == event.item_id
        ):
            text = last.text + event.text
            params = {**last.params, "delta": text}
            outbox[-1] = Event(last.method, params, item_id=last.item_id, role="delta", stream=last.stream, text=text)
        else:
            outbox.append(event)
