"""write_stdin: type into a command that goes on, or look what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.errors import ToolError
from workers.sandbox.sessions import Session
from workers.tools.base import Call, Outcome, Plan, ToolContext
from workers.tools.exec_command import MAX_OUTPUT_TOKENS, Arguments, wait_and_tell

NAME = "write_stdin"
PURE = False
YIELD_MS = 250  # after typing
POLL_YIELD_MS = 5_000  # when there is nothing to type

SPEC: dict[str, Any] = {
    "type": "function",
    "name": NAME,
    "description": "Type into a running exec_command session, or wait for more of its output.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {
            "session_id": {"type": "integer", "description": "From exec_command"},
            "chars": {
                "type": "string",
                "description": "What to type (needs tty: true); \\u0003 is Ctrl-C. Empty: only look; default: empty",
            },
            "yield_time_ms": {
                "type": "integer",
                "description": f"How long to wait for its end; default: {YIELD_MS}, and {POLL_YIELD_MS} to only look",
            },
            "max_output_tokens": {
                "type": "integer",
                "description": f"Longer output is cut in the middle; default: {MAX_OUTPUT_TOKENS}",
            },
        },
        "required": ["session_id"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, slots=True)
class _Input:
    session: Session
    chars: str
    yield_s: float
    max_output_tokens: int


def plan(call: Call, ctx: ToolContext) -> Plan:
    """No item of its own: what comes of it belongs to the item of the command."""
    given = Arguments(call)
    session = ctx.sessions.get(given.number("session_id"))
    chars = given.text("chars", "")
    if chars and not session.process.tty:
        raise ToolError(f"{NAME}: session {session.id} has no terminal; run the command with tty: true to type into it")
    yield_s = given.yield_s(YIELD_MS if chars else POLL_YIELD_MS)
    return Plan(call, item=None, data=_Input(session, chars, yield_s, given.max_output_tokens()))


def run(plan: Plan, ctx: ToolContext) -> Outcome:
    """Type, wait, tell; completes the command's item when it sees its end. Errors: ClaimLost, as exec_command."""
    given: _Input = plan.data
    session = given.session
    if given.chars and not session.process.ended:
        session.process.write(given.chars.encode())
    told = wait_and_tell(session, ctx, given.yield_s, given.max_output_tokens)
    if session.process.ended:
        ctx.sessions.forget(session)
        if not session.completed:
            ctx.complete_later(session.item_id, session.ended_item())
    return Outcome(told)
