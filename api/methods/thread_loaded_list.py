"""thread/loaded/list: List the ids of threads that are active or were used recently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import THREAD_ID, Example
from api.requests.pages import invalid_cursor, page_size
from api.requests.params import MethodParams
from shared.ids import is_id

NAME = "thread/loaded/list"
PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Which page to return.

    cursor: `nextCursor` of the page before
    limit:  1 to 100; by default 100
    Errors: InvalidRequest (the cursor)
    Source: PROTOCOL 5.11
    """

    cursor: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Result:
    """data: ids of threads"""

    data: Sequence[str]
    next_cursor: str | None


EXAMPLE = Example(result={"data": [THREAD_ID], "nextCursor": None})


def handle(ctx: Context, params: Params) -> Result:
    cursor, limit = params.cursor, page_size(params.limit, PAGE)
    if cursor is not None and not is_id(cursor):
        raise invalid_cursor(cursor)
    found = ctx.store.threads.list_loaded(ctx.user_id, cursor, limit + 1)
    return Result(data=found[:limit], next_cursor=found[limit - 1] if len(found) > limit else None)
