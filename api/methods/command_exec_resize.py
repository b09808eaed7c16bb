"""command/exec/resize: Change the size of a running command's terminal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from api.methods.command_exec import Size
from api.methods.command_exec_terminate import running
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.results import Empty

NAME = "command/exec/resize"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The command, and the new size.

    process_id: as given to command/exec on this connection
    Errors:     InvalidRequest (this connection runs no such command, or it has no terminal); InvalidParams
    """

    process_id: str
    size: Size


Result = Empty
EXAMPLE = Example(params={"processId": "shell-1", "size": {"cols": 120, "rows": 40}})


def handle(ctx: Context, params: Params) -> Result:
    call = running(ctx, params.process_id, "tty", "command/exec resize requires tty: true")
    call.send("resize", dataclasses.asdict(params.size))
    return Result()
