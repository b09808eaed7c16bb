"""command/exec/terminate: End a running command and all processes that it started."""

from __future__ import annotations

from dataclasses import dataclass

from api.methods.command_exec import process_name
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from shared.errors import InvalidRequest
from shared.events.worker_calls import WorkerCall

NAME = "command/exec/terminate"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The command.

    process_id: as given to command/exec on this connection
    Errors:     InvalidRequest (this connection runs no such command)
    """

    process_id: str


Result = Empty
EXAMPLE = Example(params={"processId": "shell-1"})


def handle(ctx: Context, params: Params) -> Result:
    running(ctx, params.process_id).send("terminate")
    return Result()


def running(ctx: Context, process_id: str, needed: str | None = None, otherwise: str = "") -> WorkerCall:
    """Return the call of a command that this connection started.

    needed:    a param that the command must have been started with
    otherwise: the error's text when it was not
    Errors:    InvalidRequest
    """
    call = ctx.connection.calls.find(process_name(process_id)) if ctx.connection else None
    if call is None:
        raise InvalidRequest(f"no active command/exec for process id {process_id!r}")
    if needed is not None and not call.params[needed]:
        raise InvalidRequest(otherwise)
    return call
