"""thread/loaded/list: ids of threads that are active or were used a short while ago."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.history import bad_cursor, clamp
from api.params import ParamsSchema
from shared.ids import is_id
from shared.protocol.base import WireSchema

NAME = "thread/loaded/list"
PAGE = 100


class Params(ParamsSchema):
    """Shape: {"cursor": the last id of the page before?, "limit": 1 to 100?}. Source: PROTOCOL 5.11"""

    cursor = fields.Str(load_default=None)
    limit = fields.Int(load_default=None)


class Result(WireSchema):
    """Shape: {"data": [thread id], "nextCursor": str|null}"""

    data = fields.List(fields.Str())
    next_cursor = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    cursor, limit = params["cursor"], clamp(params["limit"], PAGE)
    if cursor is not None and not is_id(cursor):
        raise bad_cursor(cursor)
    found = ctx.store.threads.list_loaded(ctx.user_id, cursor, limit + 1)
    return {"data": found[:limit], "next_cursor": found[limit - 1] if len(found) > limit else None}
