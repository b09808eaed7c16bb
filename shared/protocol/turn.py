"""A turn as clients see it (PROTOCOL 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.store.items import Item
    from shared.store.turns import Turn

STATUSES = ("inProgress", "completed", "interrupted", "failed")


def turn_error(message: str, info: str | dict[str, Any] | None = None, details: str | None = None) -> dict[str, Any]:
    """TurnError: {"message", "codexErrorInfo", "additionalDetails", "misalignment"}."""
    return {"message": message, "codexErrorInfo": info, "additionalDetails": details, "misalignment": None}


def turn_object(turn: Turn, items: list[Item] | None = None, view: str = "notLoaded") -> dict[str, Any]:
    """Turn of PROTOCOL 3.2. items: rows as clients may see them, for view "summary" or "full"."""
    started, completed = turn.started_at_ms, turn.completed_at_ms
    return {
        "id": turn.id,
        "rootTurnId": turn.id,
        "items": [item.wire() for item in items or ()],
        "itemsView": view,
        "status": turn.status,
        "error": turn.error,
        "startedAt": started // 1000 if started else None,
        "completedAt": completed // 1000 if completed else None,
        "durationMs": completed - started if completed and started else None,
    }
