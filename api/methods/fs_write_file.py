"""fs/writeFile: make a file, or replace what it holds."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from api.results import Empty
from api.workspace import check_paths, check_writable, is_base64, note_act

NAME = "fs/writeFile"
SLOW = True


class Params(ParamsSchema):
    """Shape:  {"path": absolute, "dataBase64": str}
    Errors: InvalidParams (the path), InvalidRequest (what the file system says), NotFound; those of Context.call
    """

    path = fields.Str(required=True)
    data_base64 = fields.Str(required=True, validate=is_base64)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    check_writable(ctx)
    check_paths(ctx, params, "path")
    note_act(ctx, NAME, params["path"])
    return ctx.call(NAME, params)
