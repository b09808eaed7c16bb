"""thread/shellCommand: Run a shell command that the user typed, in the thread's sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import Empty
from shared import telemetry
from shared.events import turn_signals
from shared.protocol.user_input import SHELL_COMMAND, ShellCommand
from shared.store.turns import NewTurn

NAME = "thread/shellCommand"
MAX_COMMAND_CHARACTERS = 100_000
MAX_TIMEOUT_MS = 3_600_000  # the time limit of all commands


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The command joins the active turn, where it cuts off the model's answer as a message does. Without an active turn
    it gets a turn of its own.

    command: a line for the shell
    Errors: InvalidParams; NotFound; Conflict (archived); Overloaded (too many queued turns)
    Source: PROTOCOL 5.11
    """

    command: Annotated[str, validate.Length(1, MAX_COMMAND_CHARACTERS), validate.ContainsNoneOf("\0")]
    timeout_ms: Annotated[int, validate.Range(0, MAX_TIMEOUT_MS)] | None = None


Result = Empty
EXAMPLE = Example(params={**ON_THREAD, "command": "git status"})


def handle(ctx: Context, params: Params) -> Result:
    command: ShellCommand = {"type": SHELL_COMMAND, "command": params.command, "timeoutMs": params.timeout_ms}
    new = NewTurn([command], None, {}, telemetry.with_trace({"kind": "shell"}))
    turn, is_new = ctx.store.turns.create_or_steer(
        params.thread_id, ctx.user_id, new, **ctx.turn_limits(), audit_entry=ctx.audit_entry(NAME)
    )
    if is_new:
        ctx.after_reply(ctx.enqueue_turn, turn)
    else:
        ctx.after_reply(ctx.signal_turn, turn_signals.STEER, turn)
    return Result()
