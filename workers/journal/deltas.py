"""Joins deltas, so that an item has at most one delta per stream and batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
            outbox[-1] = replace(last, text=text, params={**last.params, "delta": text})
        else:
            outbox.append(event)
