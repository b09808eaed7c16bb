"""thread/items/list: List a thread's completed items, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.requests.context import Context
from api.requests.examples import MESSAGE, ON_THREAD, TURN_ID, Example
from api.requests.history import ANSWER_BYTES
from api.requests.pages import invalid_cursor, page_cursor, page_size, parse_page_cursor
from api.requests.params import ThreadParams
from api.requests.results import ItemEntry, ItemsPage

NAME = "thread/items/list"
PAGE = 100
MAX_POSITION_DIGITS = 18


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """Which items to return.

    turn_id: only the items of this turn
    cursor: a cursor of another page, or {"itemId"} of an item of the turn
    limit:  1 to 100; by default 100. A page ends earlier when its items have more than 16 MiB together
    Errors: NotFound; InvalidRequest (the cursor)
    Source: PROTOCOL 5.9
    """

    turn_id: str | None = None
    cursor: object | None = None
    limit: int | None = None
    sort_direction: Literal["asc", "desc"] = "asc"


Result = ItemsPage
EXAMPLE = Example(
    params={**ON_THREAD, "sortDirection": "desc", "limit": 50},
    result={
        "data": [
            {
                "turnId": TURN_ID,
                "item": MESSAGE.wire(),
                "startedAtMs": MESSAGE.started_at_ms,
                "completedAtMs": MESSAGE.completed_at_ms,
            }
        ],
        "nextCursor": None,
        "backwardsCursor": "=2",
    },
)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id, missing="thread not loaded: {}")
    after, inclusive = _position(ctx, thread.id, params.turn_id, params.cursor)
    items, has_more = ctx.store.items.page(
        thread.id,
        ctx.user_id,
        turn_id=params.turn_id,
        after=after,
        inclusive=inclusive,
        descending=params.sort_direction == "desc",
        limit=page_size(params.limit, PAGE),
        limit_bytes=ANSWER_BYTES,
    )
    data: list[ItemEntry] = [
        {
            "turnId": item.turn_id,
            "item": item.wire(),
            "startedAtMs": item.started_at_ms,
            "completedAtMs": item.completed_at_ms,
        }
        for item in items
    ]
    return Result(
        data=data,
        next_cursor=page_cursor(items[-1].position, inclusive=False) if has_more else None,
        backwards_cursor=page_cursor(items[0].position if items else None, inclusive=True),
    )


def _position(ctx: Context, thread_id: str, turn_id: str | None, cursor: object) -> tuple[int | None, bool]:
    """Return the position where a page begins, and whether the page includes it. Errors: InvalidRequest."""
    if isinstance(cursor, dict):
        item_id = str(cursor.get("itemId"))
        named = ctx.store.items.find_position(thread_id, ctx.user_id, turn_id or "", item_id)
        if named is None:
            raise invalid_cursor(item_id)
        return named, False
    if cursor is not None and not isinstance(cursor, str):
        raise invalid_cursor(str(cursor))
    position, inclusive = parse_page_cursor(cursor)
    if position is None:
        return None, inclusive
    if not (position.isascii() and position.isdigit() and len(position) <= MAX_POSITION_DIGITS):
        raise invalid_cursor(str(cursor))
    return int(position), inclusive
