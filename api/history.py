"""What clients see of a thread's turns and items, and the cursors of their lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.errors import InvalidRequest
from shared.ids import is_id
from shared.protocol.turn import turn_object
from shared.store import Store
from shared.store.items import Item
from shared.store.turns import Turn

TURNS_AT_ONCE = 500  # whose items are read with one query
TURNS_PAGE = 25
MAX_PAGE = 100


def turn_objects(store: Store, owner: str, turns: Sequence[Turn], view: str) -> tuple[list[dict[str, Any]], list[Item]]:
    """Turn objects with the items that the view shows ("notLoaded", "summary" or "full"), and all of those items."""
    if view == "notLoaded":
        return [turn_object(turn) for turn in turns], []
    found: dict[str, list[Item]] = {}
    for start in range(0, len(turns), TURNS_AT_ONCE):
        some = turns[start : start + TURNS_AT_ONCE]
        found |= store.items.completed(some[0].thread_id, owner, [turn.id for turn in some])
    if view == "summary":
        found = {turn_id: _summary(items) for turn_id, items in found.items()}
    objects = [turn_object(turn, found.get(turn.id, []), view) for turn in turns]
    return objects, [item for items in found.values() for item in items]


def _summary(items: Sequence[Item]) -> list[Item]:
    """The first message of the user and the last one of the agent (PROTOCOL 3.2)."""
    said = [item for item in items if item.kind == "userMessage"][:1]
    answered = [item for item in items if item.kind == "agentMessage"][-1:]
    return said + answered


def turns_page(
    store: Store, owner: str, thread_id: str, *, cursor: str | None, limit: int | None, direction: str, view: str
) -> dict[str, Any]:
    """A page of thread/turns/list, as api.results.Page. Errors: InvalidRequest (the cursor)."""
    turn_id, inclusive = parse_page_cursor(cursor)
    if cursor is not None and turn_id is not None and not is_id(turn_id):
        raise bad_cursor(cursor)
    size = clamp(limit, TURNS_PAGE)
    found = store.turns.of_thread(
        thread_id, owner, after_id=turn_id, inclusive=inclusive, descending=direction == "desc", limit=size + 1
    )
    turns = found[:size]
    objects, _ = turn_objects(store, owner, turns, view)
    return {
        "data": objects,
        "next_cursor": page_cursor(turns[-1].id, inclusive=False) if len(found) > size else None,
        "backwards_cursor": page_cursor(turns[0].id if turns else None, inclusive=True),
    }


def newest(store: Store, owner: str, thread_id: str) -> tuple[str | None, str | None]:
    """Cursors of the newest turn and of the newest completed item, to read backwards from (PROTOCOL 5.9)."""
    turns = store.turns.of_thread(thread_id, owner, descending=True, limit=1)
    items = store.items.page(thread_id, owner, turn_id=None, after=None, inclusive=False, descending=True, limit=1)
    return (
        page_cursor(turns[0].id if turns else None, inclusive=True),
        page_cursor(items[0].position if items else None, inclusive=True),
    )


def page_cursor(place: str | int | None, *, inclusive: bool) -> str | None:
    """A place in a list as clients give it back; an inclusive one is for going the other way."""
    return None if place is None else f"{'=' if inclusive else ''}{place}"


def parse_page_cursor(cursor: str | None) -> tuple[str | None, bool]:
    """The place, and whether it is part of the page."""
    return (cursor.removeprefix("="), cursor.startswith("=")) if cursor else (None, False)


def bad_cursor(cursor: str) -> InvalidRequest:
    return InvalidRequest(f"invalid cursor: {cursor[:200]}")


def clamp(limit: int | None, default: int) -> int:
    return max(1, min(MAX_PAGE, default if limit is None else limit))
