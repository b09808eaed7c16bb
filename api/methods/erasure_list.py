"""erasure/list: receipts of what was erased. A method of ours."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema
from shared.store.erasures import Erasure

NAME = "erasure/list"
MAX_LIMIT = 100


class Params(ParamsSchema):
    """Shape: {"cursor": str?, "limit": int 1 to 100 = 25}"""

    cursor = fields.Str(load_default=None, allow_none=True, validate=validate.Length(max=100))
    limit = fields.Int(load_default=25, allow_none=True, validate=validate.Range(1, MAX_LIMIT))


class Result(WireSchema):
    """Newest first.

    Shape: {"data": [{"id", "threadId", "cause": "thread/delete" | "retention", "requestedAtMs", "doneAtMs": int | null
           while something is left, "receipt": {name of a store: how many of its things are gone}}], "nextCursor": str?}
    """

    data = fields.List(fields.Dict(), required=True)
    next_cursor = fields.Str(required=True, allow_none=True)


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    limit = params["limit"] or 25
    found = ctx.store.erasures.page(ctx.user_id, after_id=params["cursor"], limit=limit + 1)
    page = found[:limit]
    return {
        "data": [_shown(erasure) for erasure in page],
        "next_cursor": page[-1].id if len(found) > limit else None,
    }


def _shown(erasure: Erasure) -> dict[str, Any]:
    return {
        "id": erasure.id,
        "threadId": erasure.subject_id,
        "cause": erasure.cause,
        "requestedAtMs": erasure.requested_at_ms,
        "doneAtMs": erasure.done_at_ms,
        "receipt": erasure.receipt,
    }
