"""gitDiffToRemote: what differs between a working tree and the newest commit of it that the remote has."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from api.workspace import check_paths
from shared.protocol.base import WireSchema

NAME = "gitDiffToRemote"
SLOW = True


class Params(ParamsSchema):
    """Shape:  {"cwd": absolute path}
    Errors: InvalidParams (the path), InvalidRequest (no repository, or nothing of it is at a remote); those of
            Context.call
    """

    cwd = fields.Str(required=True)


class Result(WireSchema):
    """sha: of the commit; diff: unified, files that git does not know yet as added"""

    sha = fields.Str()
    diff = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    check_paths(ctx, params, "cwd")
    return ctx.call(NAME, params)
