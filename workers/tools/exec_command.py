"""exec_command: run a command line in a shell, in the thread's sandbox."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from shared.errors import ClaimLost, ToolError
from shared.protocol.items import CommandExecution
from shared.protocol.model_items import ToolDefinition
from workers.control.signal import StopReason
from workers.sandbox import files
from workers.sandbox.sessions import CommandSession
from workers.tools import apply_patch, shell_words
from workers.tools.arguments import read_arguments
from workers.tools.base import ApprovalRequirement, PreparedCall, ToolCall, ToolContext, ToolResult
from workers.tools.patch_grammar import shell_patch

NAME = "exec_command"
PURE = False
PARALLEL = True
SHELL = "/bin/bash"
SHELLS = frozenset(f"{folder}/{name}" for folder in ("/bin", "/usr/bin") for name in ("bash", "dash", "sh", "zsh"))
ESCALATED = "require_escalated"
YIELD_MS = 10_000
MIN_YIELD_MS, MAX_YIELD_MS = 250, 300_000
MAX_OUTPUT_TOKENS = 10_000
MAX_INTEGER = 2**63 - 1  # that the databases store
OUTPUT_DELTA = "item/commandExecution/outputDelta"

SPEC: ToolDefinition = {
    "type": "function",
    "name": NAME,
    "description": (
        "Run a command in a shell. Gives its output and exit code, or, when it still runs after yield_time_ms, a "
        "session ID for write_stdin; such a command may run on after your answer. What a command that has ended "
        "leaves running in the background ends with it."
    ),
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {
            "cmd": {"type": "string", "description": "The command line"},
            "workdir": {"type": "string", "description": "Where to run it; default: the thread's working directory"},
            "shell": {"type": "string", "description": f"Path of the shell; default: {SHELL}"},
            "login": {
                "type": "boolean",
                "description": "Run it as a login shell; default: true, unless disabled",
            },
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


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. Item: `commandExecution` as it begins (PROTOCOL 3.3).

    The approval escalates when the model asks to leave the sandbox. A line that does nothing but call apply_patch is a
    call of that tool, as in the original.
    """
    arguments = Arguments(call.arguments, NAME)
    line = arguments.text("cmd")
    if not line.strip():
        raise ToolError(f"{NAME}: cmd is empty")
    cwd = Path(os.path.normpath(ctx.cwd / arguments.text("workdir", ".")))
    folder = ctx.sandbox.host_path(cwd)
    if not ctx.sandbox.may_read(folder) or not (folder == ctx.sandbox.private_tmp or files.is_folder(folder)):
        raise ToolError(f"{NAME}: workdir: this thread cannot see such a folder: {cwd}")
    shell = arguments.text("shell", default_shell())
    login = arguments.flag("login", ctx.login_shells)
    if login and not ctx.login_shells:
        raise ToolError("login shell is disabled by config; omit `login` or set it to false.")
    argv = [shell, "-lc" if login else "-c", line]
    if (patch := shell_patch(line)) is not None:
        cwd = Path(os.path.normpath(cwd / patch.folder))
        return apply_patch.prepare(replace(call, name=apply_patch.NAME, arguments=patch.text), replace(ctx, cwd=cwd))
    permissions = arguments.text("sandbox_permissions", "use_default")
    if permissions not in ("use_default", ESCALATED):
        raise ToolError(f"{NAME}: sandbox_permissions: expected use_default or {ESCALATED}")
    return PreparedCall(
        call,
        item=begun_item(argv, line, cwd, "agent"),
        begun_item=begun_item(argv, line, cwd, "unifiedExecStartup", str(call.session_id)),
        requirement=ApprovalRequirement(
            reason=arguments.text("justification", "") or None,
            keys=(json.dumps([permissions, str(cwd), *argv]),),
            amendment=shell_words.amendment(line, arguments.words("prefix_rule")) if shell in SHELLS else None,
            escalates=permissions == ESCALATED,
            shell_line=line if shell in SHELLS else None,
        ),
        data=_Command(
            argv,
            files.real_path(cwd) if folder == cwd else cwd,
            arguments.flag("tty", False),
            arguments.yield_s(YIELD_MS),
            arguments.max_output_tokens(),
        ),
    )


def is_patch(call: ToolCall) -> bool:
    """Return whether the call is one of apply_patch, which waits for the calls before it."""
    try:
        return shell_patch(Arguments(call.arguments, NAME).text("cmd")) is not None
    except ToolError:
        return False


def default_shell() -> str:
    """Return the path of the shell that runs commands by default."""
    return SHELL if Path(SHELL).exists() else "/bin/sh"


def begun_item(argv: list[str], line: str, cwd: Path, source: str, process_id: str | None = None) -> CommandExecution:
    """Return a commandExecution item as it begins (PROTOCOL 3.3)."""
    return {
        "type": "commandExecution",
        "command": shlex.join(argv),
        "cwd": str(cwd),
        "processId": process_id,
        "source": source,
        "status": "inProgress",
        "commandActions": shell_words.actions(line, cwd),
        "aggregatedOutput": None,
        "exitCode": None,
        "durationMs": None,
        "pluginId": None,
        "scriptPath": None,
    }


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    """Start the command, and wait for its end or the yield time.

    Errors: ClaimLost, once every process of the command has ended
    """
    if isinstance(prepared.data, apply_patch.PreparedPatch):
        return apply_patch.run(prepared, ctx)
    command: _Command = prepared.data
    session = ctx.sessions.start(
        command.argv,
        session_id=prepared.call.session_id,
        cwd=command.cwd,
        policy=ctx.sandbox,
        item_id=prepared.call.item_id,
        item=cast(CommandExecution, prepared.item),
        env=ctx.env,
        tty=command.tty,
        on_output=lambda text: ctx.emit(OUTPUT_DELTA, {"delta": text}),
    )
    report = wait_and_report(session, ctx, command.yield_s, command.max_output_tokens)
    if not session.process.ended:
        return ToolResult(report, goes_on=True)
    ctx.sessions.forget(session)
    return ToolResult(report, item=session.ended_item())


def wait_and_report(session: CommandSession, ctx: ToolContext, yield_s: float | None, max_output_tokens: int) -> str:
    """Wait for the command's end, for yield_s at most. Return what happened, in the format that models know."""
    began_at = time.monotonic()
    session.process.wait_or_stop(ctx.signal, yield_s)
    if StopReason.REVOKED in ctx.signal:
        raise ClaimLost("another worker has claimed the turn")
    return session.report(time.monotonic() - began_at, max_output_tokens)


class Arguments:
    """Reads the arguments of a function call, a JSON object, with the expected types.

    Errors: ToolError, which names what is wrong
    """

    def __init__(self, text: str, tool: str) -> None:
        self._tool = tool
        given = read_arguments(text, tool)
        self._given: Mapping[str, object] = {key: value for key, value in given.items() if value is not None}

    def text(self, name: str, default: str | None = None) -> str:
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise ToolError(f"{self._tool}: {name}: expected a string")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise ToolError(f"{self._tool}: {name}: expected true or false")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        value = self._given.get(name, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > MAX_INTEGER:
            raise ToolError(f"{self._tool}: {name}: expected an integer of 64 bits")
        return value

    def words(self, name: str) -> list[str] | None:
        value = self._given.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise ToolError(f"{self._tool}: {name}: expected an array of strings")
        return value

    def yield_s(self, default_ms: int) -> float:
        """Return yield_time_ms in seconds, within its bounds."""
        return min(max(self.number("yield_time_ms", default_ms), MIN_YIELD_MS), MAX_YIELD_MS) / 1000

    def max_output_tokens(self) -> int:
        """Return max_output_tokens within its bounds."""
        return min(max(self.number("max_output_tokens", MAX_OUTPUT_TOKENS), 1), MAX_OUTPUT_TOKENS)
