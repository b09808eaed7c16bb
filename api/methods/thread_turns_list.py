"""thread/turns/list: a thread's turns, a page at a time."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.history import bad_cursor, clamp, page_cursor, parse_page_cursor, turn_objects
from api.params import ThreadParams, variant
from api.results import Page
from shared.errors import InvalidRequest
from shared.ids import is_id

NAME = "thread/turns/list"
PAGE = 25


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7, "cursor"?, "limit": 1 to 100?, "sortDirection": "desc"=,
             "itemsView": "notLoaded" | "summary"= | "full"}
    Errors: NotFound; InvalidRequest (the cursor, or nobody has said anything yet)
    Source: PROTOCOL 5.8
    """

    cursor = fields.Str(load_default=None)
    limit = fields.Int(load_default=None)
    sort_direction = fields.Str(load_default="desc", validate=variant("asc", "desc"))
    items_view = fields.Str(load_default="summary", validate=variant("notLoaded", "summary", "full"))


Result = Page


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"], missing="thread not loaded: {}")
    if not thread.materialized:
        raise InvalidRequest(f"thread {thread.id} is not materialized yet; it has no user message")
    turn_id, inclusive = parse_page_cursor(params["cursor"])
    if turn_id is not None and not is_id(turn_id):
        raise bad_cursor(params["cursor"])
    limit = clamp(params["limit"], PAGE)
    found = ctx.store.turns.of_thread(
        thread.id,
        ctx.user_id,
        after_id=turn_id,
        inclusive=inclusive,
        descending=params["sort_direction"] == "desc",
        limit=limit + 1,
    )
    turns = found[:limit]
    objects, _ = turn_objects(ctx.store, ctx.user_id, turns, params["items_view"])
    return {
        "data": objects,
        "next_cursor": page_cursor(turns[-1].id, inclusive=False) if len(found) > limit else None,
        "backwards_cursor": page_cursor(turns[0].id if turns else None, inclusive=True),
    }
