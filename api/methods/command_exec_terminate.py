"""command/exec/terminate: end a running command, with all processes that it started."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.methods.command_exec import process_name
from api.params import ParamsSchema
from api.results import Empty
from shared.calls import Call
from shared.errors import InvalidRequest

NAME = "command/exec/terminate"


class Params(ParamsSchema):
    """Shape:  {"processId": str}
    Errors: InvalidRequest (no such command of this connection)
    """

    process_id = fields.Str(required=True)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    running(ctx, params["process_id"]).tell("terminate")
    return {}


def running(ctx: Context, process_id: str, needed: str | None = None, otherwise: str = "") -> Call:
    """The command of that id that this connection started. needed: a param that it was started with, else a refusal.

    Errors: InvalidRequest
    """
    call = ctx.connection.find_call(process_name(process_id)) if ctx.connection else None
    if call is None:
        raise InvalidRequest(f"no active command/exec for process id {process_id!r}")
    if needed is not None and not call.params[needed]:
        raise InvalidRequest(otherwise)
    return call
