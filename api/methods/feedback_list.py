"""feedback/list: the caller's reports, newest first."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.history import bad_cursor, clamp
from api.params import ParamsSchema
from shared.ids import is_id
from shared.protocol.base import WireSchema
from shared.protocol.feedback import FeedbackSchema, feedback_object

NAME = "feedback/list"
PAGE = 100


class Params(ParamsSchema):
    """Shape: {"cursor": the last id of the page before?, "limit": 1 to 100?}. A method of ours."""

    may_be_missing = True

    cursor = fields.Str(load_default=None)
    limit = fields.Int(load_default=None)


class Result(WireSchema):
    """Shape: {"data": [FeedbackSchema], "nextCursor": str|null}"""

    data = fields.List(fields.Nested(FeedbackSchema))
    next_cursor = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    cursor, limit = params["cursor"], clamp(params["limit"], PAGE)
    if cursor is not None and not is_id(cursor):
        raise bad_cursor(cursor)
    found = ctx.store.feedback.list(ctx.user_id, cursor, limit + 1)
    data = [feedback_object(report) for report in found[:limit]]
    return {"data": data, "next_cursor": found[limit - 1].id if len(found) > limit else None}
