"""command/exec/write: Send input to a running command, close its input, or both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from api.methods.command_exec_terminate import running
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from api.requests.workspace_paths import is_base64
from shared.errors import InvalidParams

NAME = "command/exec/write"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The command, and its input.

    process_id:   as given to command/exec on this connection
    delta_base64: bytes for the command's standard input
    close_stdin:  whether to close it afterwards
    Errors:       InvalidRequest (this connection runs no such command, or it was started without streamStdin);
                  InvalidParams
    """

    process_id: str
    delta_base64: Annotated[str, is_base64] | None = None
    close_stdin: bool = False


Result = Empty
EXAMPLE = Example(params={"processId": "shell-1", "deltaBase64": "bHMK"})


def handle(ctx: Context, params: Params) -> Result:
    if params.delta_base64 is None and not params.close_stdin:
        raise InvalidParams("command/exec/write requires deltaBase64 or closeStdin")
    call = running(ctx, params.process_id, "stream_stdin", "stdin streaming is not enabled for this command/exec")
    call.send("write", {"delta_base64": params.delta_base64, "close_stdin": params.close_stdin})
    return Result()
