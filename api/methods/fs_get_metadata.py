"""fs/getMetadata: what lies at a path."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from api.workspace import check_paths
from shared.protocol.base import WireSchema

NAME = "fs/getMetadata"
SLOW = True


class Params(ParamsSchema):
    """Shape:  {"path": absolute}
    Errors: InvalidParams (the path), InvalidRequest (what the file system says), NotFound; those of Context.call
    """

    path = fields.Str(required=True)


class Result(WireSchema):
    """is_directory, is_file: of what a link leads to; created_at_ms: 0, not known"""

    is_directory = fields.Bool()
    is_file = fields.Bool()
    is_symlink = fields.Bool()
    created_at_ms = fields.Int()
    modified_at_ms = fields.Int()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    check_paths(ctx, params, "path")
    return ctx.call(NAME, params)
