"""thread/items/list: a thread's completed items, a page at a time."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.history import bad_cursor, clamp, page_cursor, parse_page_cursor
from api.params import ThreadParams, variant
from api.results import Page

NAME = "thread/items/list"
PAGE = 100
MAX_POSITION_DIGITS = 18


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7, "turnId"?, "cursor": str or {"itemId"} of that turn?, "limit": 1 to 100?,
            "sortDirection": "asc"=}
    Errors: NotFound; InvalidRequest (the cursor)
    Source: PROTOCOL 5.9
    """

    turn_id = fields.Str(load_default=None)
    cursor = fields.Raw(load_default=None)
    limit = fields.Int(load_default=None)
    sort_direction = fields.Str(load_default="asc", validate=variant("asc", "desc"))


Result = Page


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"], missing="thread not loaded: {}")
    after, inclusive = _place(ctx, thread.id, params["turn_id"], params["cursor"])
    limit = clamp(params["limit"], PAGE)
    found = ctx.store.items.page(
        thread.id,
        ctx.user_id,
        turn_id=params["turn_id"],
        after=after,
        inclusive=inclusive,
        descending=params["sort_direction"] == "desc",
        limit=limit + 1,
    )
    items = found[:limit]
    return {
        "data": [
            {
                "turnId": item.turn_id,
                "item": item.wire(),
                "startedAtMs": item.started_at_ms,
                "completedAtMs": item.completed_at_ms,
            }
            for item in items
        ],
        "next_cursor": page_cursor(items[-1].position, inclusive=False) if len(found) > limit else None,
        "backwards_cursor": page_cursor(items[0].position if items else None, inclusive=True),
    }


def _place(ctx: Context, thread_id: str, turn_id: str | None, cursor: Any) -> tuple[int | None, bool]:
    """The position that a page begins beyond, or with. Errors: InvalidRequest."""
    if isinstance(cursor, dict):
        items = ctx.store.items.completed(thread_id, ctx.user_id, [turn_id or ""]).get(turn_id or "", ())
        named = next((item.position for item in items if item.id == cursor.get("itemId")), None)
        if named is None:
            raise bad_cursor(str(cursor.get("itemId")))
        return named, False
    if cursor is not None and not isinstance(cursor, str):
        raise bad_cursor(str(cursor))
    place, inclusive = parse_page_cursor(cursor)
    if place is None:
        return None, inclusive
    if not (place.isascii() and place.isdigit() and len(place) <= MAX_POSITION_DIGITS):
        raise bad_cursor(str(cursor))
    return int(place), inclusive
