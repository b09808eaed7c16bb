"""thread/turns/list: a thread's turns, a page at a time."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.history import turns_page
from api.params import ThreadParams, variant
from api.results import Page
from shared.errors import InvalidRequest

NAME = "thread/turns/list"


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
    return turns_page(
        ctx.store,
        ctx.user_id,
        thread.id,
        cursor=params["cursor"],
        limit=params["limit"],
        direction=params["sort_direction"],
        view=params["items_view"],
    )
