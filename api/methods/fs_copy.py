"""fs/copy: copy a file or a folder."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from api.results import Empty
from api.workspace import check_paths, check_writable, note_act

NAME = "fs/copy"
SLOW = True


class Params(ParamsSchema):
    """Shape:  {"sourcePath": absolute, "destinationPath": absolute, "recursive": bool = false}
    Errors: InvalidParams (the path), InvalidRequest (what the file system says), NotFound; those of Context.call
    """

    source_path = fields.Str(required=True)
    destination_path = fields.Str(required=True)
    recursive = fields.Bool(load_default=False)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    check_writable(ctx)
    check_paths(ctx, params, "source_path", "destination_path")
    note_act(ctx, NAME, params["destination_path"])
    return ctx.call(NAME, params)
