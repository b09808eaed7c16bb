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
    """Shape:  {"threadId": UUIDv7, "turnId"?, "cursor"?, "limit": 1 to 100?, "sortDirection": "asc"=}
    Errors: NotFound; InvalidRequest (the cursor)
    Source: PROTOCOL 5.9
    """

    turn_id = fields.Str(load_default=None)
    cursor = fields.Str(load_default=None)
    limit = fields.Int(load_default=None)
    sort_direction = fields.Str(load_default="asc", validate=variant("asc", "desc"))


Result = Page


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"], missing="thread not loaded: {}")
    place, inclusive = parse_page_cursor(params["cursor"])
    if place is not None and not (place.isascii() and place.isdigit() and len(place) <= MAX_POSITION_DIGITS):
        raise bad_cursor(params["cursor"])
    limit = clamp(params["limit"], PAGE)
    found = ctx.store.items.page(
        thread.id,
        ctx.user_id,
        turn_id=params["turn_id"],
        after=None if place is None else int(place),
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
