"""write_stdin: type into a running command session, or wait for more of its output."""

from __future__ import annotations

from dataclasses import dataclass

from shared.errors import ToolError
from shared.protocol.model_items import ToolDefinition
from workers.sandbox.sessions import CommandSession
from workers.tools.base import PreparedCall, ToolCall, ToolContext, ToolResult
from workers.tools.exec_command import MAX_OUTPUT_TOKENS, Arguments, wait_and_report

NAME = "write_stdin"
PURE = False
PARALLEL = False
YIELD_MS = 250  # after typing
POLL_YIELD_MS = 5_000  # when there is nothing to type
TERMINAL_INTERACTION = "item/commandExecution/terminalInteraction"

SPEC: ToolDefinition = {
    "type": "function",
    "name": NAME,
    "description": (
        "Type into a running exec_command session, also one of an earlier turn, or wait for more of its output."
    ),
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
    """What to type, and where. session: None for the command of an earlier turn, which another process may run."""

    session: CommandSession | None
    session_id: int
    item_id: str
    chars: str
    yield_s: float
    max_output_tokens: int


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. It has no item of its own: its output belongs to the item of the command."""
    arguments = Arguments(call.arguments, NAME)
    session_id = arguments.number("session_id")
    session = ctx.sessions.find(session_id)
    item_id = session.item_id if session is not None else ctx.terminals and ctx.terminals.find(session_id)
    if not item_id:
        raise ToolError(f"no session {session_id}: it has ended, or never existed")
    chars = arguments.text("chars", "")
    if session is not None:
        check_terminal(session, chars)
    yield_s = arguments.yield_s(YIELD_MS if chars else POLL_YIELD_MS)
    given = _Input(session, session_id, item_id, chars, yield_s, arguments.max_output_tokens())
    return PreparedCall(call, item=None, data=given)


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    """Type, wait, and report. Complete the command's item when a command of this turn has ended.

    Errors: ToolError; ClaimLost, as exec_command.run
    """
    given: _Input = prepared.data
    interaction = {"itemId": given.item_id, "processId": str(given.session_id), "stdin": given.chars}
    notifications = [(TERMINAL_INTERACTION, interaction)]
    session = given.session
    if session is None:
        assert ctx.terminals is not None
        report = ctx.terminals.write(given.session_id, given.chars, given.yield_s, given.max_output_tokens)
        return ToolResult(report, notifications=notifications)
    if given.chars and not session.process.ended:
        session.process.write(given.chars.encode())
    report = wait_and_report(session, ctx, given.yield_s, given.max_output_tokens)
    if session.process.ended:
        ctx.sessions.forget(session)
        if not session.completed:
            ctx.complete_later(session.item_id, session.ended_item())
    return ToolResult(report, notifications=notifications)


def check_terminal(session: CommandSession, chars: str) -> None:
    """Check that the command takes what is typed. Errors: ToolError."""
    if chars and not session.process.spec.tty:
        raise ToolError(f"{NAME}: session {session.id} has no terminal; run the command with tty: true to type into it")
