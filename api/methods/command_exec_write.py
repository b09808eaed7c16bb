"""command/exec/write: type into a running command, end its input, or both."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.methods.command_exec_terminate import running
from api.params import ParamsSchema
from api.results import Empty
from api.workspace import is_base64
from shared.errors import InvalidParams

NAME = "command/exec/write"


class Params(ParamsSchema):
    """Shape:  {"processId": str, "deltaBase64": str?, "closeStdin": bool = false}
    Errors: InvalidRequest (no such command of this connection, or one without streamStdin), InvalidParams
    """

    process_id = fields.Str(required=True)
    delta_base64 = fields.Str(data_key="deltaBase64", load_default=None, validate=is_base64)
    close_stdin = fields.Bool(load_default=False)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    if params["delta_base64"] is None and not params["close_stdin"]:
        raise InvalidParams("command/exec/write requires deltaBase64 or closeStdin")
    call = running(ctx, params["process_id"], "stream_stdin", "stdin streaming is not enabled for this command/exec")
    call.tell("write", {"delta_base64": params["delta_base64"], "close_stdin": params["close_stdin"]})
    return {}
