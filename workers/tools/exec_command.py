"""exec_command: a line for the shell, run in the thread's sandbox."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ClaimLost, ToolError
from workers.agent.signal import Why
from workers.sandbox import files
from workers.sandbox.output import count_tokens, shorten
from workers.sandbox.sessions import Session
from workers.tools import shell_words
from workers.tools.base import Call, Outcome, Plan, Question, ToolContext

NAME = "exec_command"
PURE = False
SHELL = "/bin/bash"
SHELLS = frozenset(f"{folder}/{name}" for folder in ("/bin", "/usr/bin") for name in ("bash", "dash", "sh", "zsh"))
ESCALATED = "require_escalated"
YIELD_MS = 10_000
MIN_YIELD_MS, MAX_YIELD_MS = 250, 300_000
MAX_OUTPUT_TOKENS = 10_000
OUTPUT_DELTA = "item/commandExecution/outputDelta"

SPEC: dict[str, Any] = {
    "type": "function",
    "name": NAME,
    "description": (
        "Run a command in a shell. Gives its output and exit code, or, when it still runs after yield_time_ms, a "
        "session ID for write_stdin. What the command leaves running in the background ends with it."
    ),
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {
            "cmd": {"type": "string", "description": "The command line"},
            "workdir": {"type": "string", "description": "Where to run it; default: the thread's working directory"},
            "shell": {"type": "string", "description": f"Path of the shell; default: {SHELL}"},
            "login": {"type": "boolean", "description": "Run it as a login shell; default: true"},
            "tty": {
                "type": "boolean",
                "description": "Give it a terminal, so that write_stdin can type; default: false",
            },
            "yield_time_ms": {"type": "integer", "description": f"How long to wait for its end; default: {YIELD_MS}"},
            "max_output_tokens": {
                "type": "integer",
                "description": f"Longer output is cut in the middle; default: {MAX_OUTPUT_TOKENS}",
            },
            "sandbox_permissions": {
                "type": "string",
                "enum": ["use_default", ESCALATED],
                "description": f"{ESCALATED}: ask a person to let it run outside of the sandbox",
            },
            "justification": {
                "type": "string",
                "description": f"With {ESCALATED}: why, as a short question to the person",
            },
            "prefix_rule": {
                "type": "array",
                "items": {"type": "string"},
                "description": f"With {ESCALATED}: first words of the command that the person may allow from now on",
            },
        },
        "required": ["cmd"],
        "additionalProperties": False,
    },
}


@dataclass(frozen=True, slots=True)
class _Command:
    argv: list[str]
    cwd: Path
    tty: bool
    yield_s: float
    max_output_tokens: int


def plan(call: Call, ctx: ToolContext) -> Plan:
    """Item `commandExecution` (PROTOCOL 3.3) as it begins; a question that escalates when the model asks for it."""
    given = Arguments(call)
    line = given.text("cmd")
    if not line.strip():
        raise ToolError(f"{NAME}: cmd is empty")
    cwd = Path(os.path.normpath(ctx.cwd / given.text("workdir", ".")))
    if not ctx.sandbox.may_read(cwd) or not files.is_folder(cwd):
        raise ToolError(f"{NAME}: workdir: no such folder for this thread: {cwd}")
    shell = given.text("shell", default_shell())
    argv = [shell, "-lc" if given.flag("login", True) else "-c", line]
    permissions = given.text("sandbox_permissions", "use_default")
    if permissions not in ("use_default", ESCALATED):
        raise ToolError(f"{NAME}: sandbox_permissions: expected use_default or {ESCALATED}")
    return Plan(
        call,
        item=begun_item(argv, line, cwd, "agent"),
        question=Question(
            why=given.text("justification", "") or None,
            keys=(json.dumps([permissions, str(cwd), *argv]),),
            amendment=shell_words.amendment(line, given.words("prefix_rule")) if shell in SHELLS else None,
            escalates=permissions == ESCALATED,
            line=line if shell in SHELLS else None,
        ),
        data=_Command(
            argv,
            files.real_path(cwd),
            given.flag("tty", False),
            given.yield_s(YIELD_MS),
            given.max_output_tokens(),
        ),
    )


def default_shell() -> str:
    return SHELL if Path(SHELL).exists() else "/bin/sh"


def begun_item(argv: list[str], line: str, cwd: Path, source: str) -> dict[str, Any]:
    """A commandExecution item as it begins (PROTOCOL 3.3)."""
    return {
        "type": "commandExecution",
        "command": shlex.join(argv),
        "cwd": str(cwd),
        "processId": None,
        "source": source,
        "status": "inProgress",
        "commandActions": shell_words.actions(line, cwd),
        "aggregatedOutput": None,
        "exitCode": None,
        "durationMs": None,
        "pluginId": None,
        "scriptPath": None,
    }


def run(plan: Plan, ctx: ToolContext) -> Outcome:
    """Start it, and wait for its end or the yield time. Errors: ClaimLost, when its whole tree is dead."""
    command: _Command = plan.data
    assert plan.item is not None
    session = ctx.sessions.start(
        command.argv,
        cwd=command.cwd,
        policy=ctx.sandbox,
        item_id=plan.call.item_id,
        item=plan.item,
        tty=command.tty,
        on_output=lambda text: ctx.emit(OUTPUT_DELTA, {"delta": text}),
    )
    told = wait_and_tell(session, ctx, command.yield_s, command.max_output_tokens)
    if not session.process.ended:
        return Outcome(told, goes_on=True)
    ctx.sessions.forget(session)
    return Outcome(told, item=session.ended_item())


def wait_and_tell(session: Session, ctx: ToolContext, yield_s: float | None, max_output_tokens: int) -> str:
    """Wait for the command's end, for yield_s at most, then say what happened meanwhile, in the words models know."""
    began_at = time.monotonic()
    session.process.attend(ctx.signal, yield_s)
    if Why.LOST in ctx.signal:
        raise ClaimLost("another worker has the turn")
    ended = session.process.ended
    waited_s = time.monotonic() - began_at
    output = session.process.take()
    state = session.ending() if ended else f"Process running with session ID {session.id}"
    lines = [
        f"Chunk ID: {secrets.token_hex(3)}",
        f"Wall time: {waited_s:.4f} seconds",
        state,
        f"Original token count: {count_tokens(output.total_bytes)}",
        "Output so far:" if ended and session.process.stopped_by else "Output:",
        shorten(output.text(), max_output_tokens),
    ]
    return "\n".join(lines)


class Arguments:
    """The JSON object that a model gave a tool, read with the expected types; ToolError names what is wrong."""

    def __init__(self, call: Call) -> None:
        self._tool = call.name
        try:
            given = json.loads(call.arguments)
        except ValueError as error:
            raise ToolError(f"{call.name}: the arguments are not JSON: {error}") from None
        if not isinstance(given, dict):
            raise ToolError(f"{call.name}: the arguments are no JSON object")
        self._given: dict[str, Any] = {key: value for key, value in given.items() if value is not None}

    def text(self, name: str, default: str | None = None) -> str:
        value = self._given.get(name, default)
        if not isinstance(value, str) or "\0" in value:
            raise ToolError(f"{self._tool}: {name}: expected a string without NUL")
        return value.encode(errors="replace").decode()  # lone surrogates cannot be passed on

    def flag(self, name: str, default: bool) -> bool:
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise ToolError(f"{self._tool}: {name}: expected true or false")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self._given.get(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ToolError(f"{self._tool}: {name}: expected an integer")
        return value

    def words(self, name: str) -> list[str] | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise ToolError(f"{self._tool}: {name}: expected an array of strings")
        return [word.encode(errors="replace").decode() for word in value]

    def yield_s(self, default_ms: int) -> float:
        """yield_time_ms in seconds, within bounds."""
        return min(max(self.number("yield_time_ms", default_ms), MIN_YIELD_MS), MAX_YIELD_MS) / 1000

    def max_output_tokens(self) -> int:
        """max_output_tokens within bounds."""
        return min(max(self.number("max_output_tokens", MAX_OUTPUT_TOKENS), 1), MAX_OUTPUT_TOKENS)
