"""command/exec/resize: a running command's terminal has another size."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.methods.command_exec import SizeSchema
from api.methods.command_exec_terminate import running
from api.params import ParamsSchema
from api.results import Empty

NAME = "command/exec/resize"


class Params(ParamsSchema):
    """Shape:  {"processId": str, "size": {"rows": int, "cols": int}}
    Errors: InvalidRequest (no such command of this connection, or one without a terminal), InvalidParams
    """

    process_id = fields.Str(required=True)
    size = fields.Nested(SizeSchema, required=True)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    call = running(ctx, params["process_id"], "tty", "command/exec resize requires tty: true")
    call.tell("resize", params["size"])
    return {}
