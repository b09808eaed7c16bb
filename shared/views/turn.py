"""A turn as clients see it (PROTOCOL 3.2)."""

from __future__ import annotations

from collections.abc import Sequence

from shared.protocol.turn import TurnObject
from shared.store.items import Item
from shared.store.turns import Turn


def turn_object(turn: Turn, items: Sequence[Item] = (), view: str = "notLoaded") -> TurnObject:
    """Return the Turn object. items: completed rows that clients may see, for the views "summary" and "full"."""
    started, completed = turn.started_at_ms, turn.completed_at_ms
    return {
        "id": turn.id,
        "rootTurnId": turn.id,
        "items": [item.wire() for item in items],
        "itemsView": view,
        "status": turn.status,
        "error": turn.error,
        "startedAt": started // 1000 if started else None,
        "completedAt": completed // 1000 if completed else None,
        "durationMs": completed - started if completed and started else None,
    }
