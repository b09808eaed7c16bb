"""thread/turns/list: List a thread's turns, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.requests.context import Context
from api.requests.examples import ENDED_TURN, ON_THREAD, TURN_ID, Example
from api.requests.history import turns_page
from api.requests.params import ThreadParams
from api.requests.results import TurnsPage
from shared.errors import InvalidRequest

NAME = "thread/turns/list"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """Which turns to return.

    cursor: a cursor of another page
    limit:  1 to 100; by default 25. A page ends earlier when its items have more than 16 MiB together
    items_view: "summary" shows the user's first message and the agent's last one. A turn that alone has more than a
        page comes as its summary, and says so in its `itemsView`: read its items with thread/items/list
    Errors: NotFound; InvalidRequest (the cursor, or the thread has no message yet)
    Source: PROTOCOL 5.8
    """

    cursor: str | None = None
    limit: int | None = None
    sort_direction: Literal["asc", "desc"] = "desc"
    items_view: Literal["notLoaded", "summary", "full"] = "summary"


Result = TurnsPage
EXAMPLE = Example(
    params={**ON_THREAD, "itemsView": "full"},
    result={"data": [ENDED_TURN], "nextCursor": None, "backwardsCursor": f"={TURN_ID}"},
)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id, missing="thread not loaded: {}")
    if not thread.materialized:
        raise InvalidRequest(f"thread {thread.id} is not materialized yet; it has no user message")
    return turns_page(
        ctx.store,
        ctx.user_id,
        thread.id,
        cursor=params.cursor,
        limit=params.limit,
        direction=params.sort_direction,
        view=params.items_view,
    )
