"""fs/readDirectory: what a folder holds."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from api.workspace import check_paths
from shared.protocol.base import WireSchema

NAME = "fs/readDirectory"
SLOW = True


class Params(ParamsSchema):
    """Shape:  {"path": absolute}
    Errors: InvalidParams (the path), InvalidRequest (what the file system says), NotFound; those of Context.call
    """

    path = fields.Str(required=True)


class EntrySchema(WireSchema):
    """is_directory, is_file: of what a link leads to"""

    file_name = fields.Str()
    is_directory = fields.Bool()
    is_file = fields.Bool()


class Result(WireSchema):
    """entries: by name; at most 10 000"""

    entries = fields.List(fields.Nested(EntrySchema))


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    check_paths(ctx, params, "path")
    return ctx.call(NAME, params)
