"""thread/shellCommand: a line for the shell that the user typed, run in the thread's sandbox."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.params import ThreadParams
from api.results import Empty
from shared import mailbox, telemetry
from shared.store.turns import SHELL_COMMAND, NewTurn

NAME = "thread/shellCommand"
MAX_COMMAND_CHARACTERS = 100_000
MAX_TIMEOUT_MS = 3_600_000  # the time limit of all commands


class Params(ThreadParams):
    """What to run. It joins the active turn, where it cuts the model's answer as a message does, or is one of its own.

    Shape:  {"threadId": UUIDv7, "command": str, "timeoutMs": int?}
    Errors: InvalidParams; NotFound; Conflict (archived); Overloaded (too many queued turns)
    Source: PROTOCOL 5.11
    """

    command = fields.Str(
        required=True, validate=[validate.Length(1, MAX_COMMAND_CHARACTERS), validate.ContainsNoneOf("\0")]
    )
    timeout_ms = fields.Int(load_default=None, validate=validate.Range(0, MAX_TIMEOUT_MS))


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    command = {"type": SHELL_COMMAND, "command": params["command"], "timeoutMs": params["timeout_ms"]}
    new = NewTurn([command], None, {}, {"kind": "shell", **telemetry.carried()})
    turn, is_new = ctx.store.turns.create_or_steer(
        params["thread_id"], ctx.user_id, new, **ctx.room_for_turn(), act=ctx.act(NAME)
    )
    if is_new:
        ctx.after_reply(ctx.ring, turn)
    else:
        ctx.after_reply(ctx.call_turn, mailbox.STEER, turn)
    return {}
