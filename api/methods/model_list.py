"""model/list: the models that a client may choose from."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.history import bad_cursor
from api.params import ParamsSchema
from shared.catalogue import models
from shared.protocol.base import WireSchema

NAME = "model/list"


class Params(ParamsSchema):
    """Shape:  {"cursor": decimal offset?, "limit": int?, "includeHidden": bool=false}
    Errors: InvalidRequest (the cursor)
    Source: PROTOCOL 5.12
    """

    cursor = fields.Str(load_default="0")
    limit = fields.Int(load_default=None)
    include_hidden = fields.Bool(load_default=False)


class Result(WireSchema):
    """Shape: {"data": [Model], "nextCursor": str|null}"""

    data = fields.List(fields.Dict())
    next_cursor = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    found = [model for model in models(ctx.config) if params["include_hidden"] or not model["hidden"]]
    if not (params["cursor"].isascii() and params["cursor"].isdigit()):
        raise bad_cursor(params["cursor"])
    start = min(int(params["cursor"][:9]), len(found))
    end = len(found) if params["limit"] is None else start + max(1, params["limit"])
    return {"data": found[start:end], "next_cursor": str(end) if end < len(found) else None}
