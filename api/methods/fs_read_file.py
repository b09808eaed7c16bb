"""fs/readFile: a whole file."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from api.workspace import check_paths
from shared.protocol.base import WireSchema

NAME = "fs/readFile"
SLOW = True


class Params(ParamsSchema):
    """Shape:  {"path": absolute}
    Errors: InvalidParams (the path), InvalidRequest (what the file system says), NotFound; those of Context.call
    """

    path = fields.Str(required=True)


class Result(WireSchema):
    """data_base64: its content; a file may have 11 MiB"""

    data_base64 = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    check_paths(ctx, params, "path")
    return ctx.call(NAME, params)
