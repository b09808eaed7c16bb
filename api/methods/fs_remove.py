"""fs/remove: delete a file, a link or a folder."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from api.results import Empty
from api.workspace import check_paths, check_writable, note_act

NAME = "fs/remove"
SLOW = True


class Params(ParamsSchema):
    """Shape:  {"path": absolute, "recursive": bool = true, "force": bool = true: no error when it is not there}
    Errors: InvalidParams (the path), InvalidRequest (what the file system says), NotFound; those of Context.call
    """

    path = fields.Str(required=True)
    recursive = fields.Bool(load_default=True)
    force = fields.Bool(load_default=True)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    check_writable(ctx)
    check_paths(ctx, params, "path")
    note_act(ctx, NAME, params["path"])
    return ctx.call(NAME, params)
