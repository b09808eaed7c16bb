"""Runs one hook: in the thread's sandbox, with JSON on its standard input, within its own limits and time.

A hook may touch what a command of the thread may touch. It gets the variables of commands and no other; the worker's
environment has secrets. Nothing that commands of a user with a key can write or set is run or read before an operator's
hook begins (`of_operator`): it could switch the hook off or answer for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import orjson

from shared.errors import SandboxUnavailable, ToolError
from shared.protocol.hooks import Hook
from workers.control.stops import raise_if_stop_requested
from workers.hooks.answers import HookAnswer, failed, read_answer
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.process import REASONS, Process
from workers.tools.base import ToolContext
from workers.tools.exec_command import default_shell

TIME_LIMIT = "time limit"  # why a command was ended that ran too long (Process.stopped_by)
OUTPUT_BYTES = 256 * 1024  # of each of its two outputs; a hook that writes more is ended
PROCESSES = 128
MEMORY_BYTES = 1 << 30
FILE_SIZE_BYTES = 1 << 30
CPU_SECONDS = 600
INPUT_PIECE_BYTES = 64 * 1024
FEED_SECONDS = 0.05  # between attempts to write to a hook that leaves its input unread
DRAIN_SECONDS = 1.0  # for a hook to end by itself when the worker shuts down; it runs again elsewhere
NO_FOLDER = "/nonexistent"


def of_operator(ctx: ToolContext, variables: Mapping[str, str | None]) -> ToolContext:
    """Return a thread's context for the operator's hooks: without its folder, its HOME, its variables, a login shell.

    variables: that the operator has set for all commands
    """
    return replace(ctx, cwd=Path("/"), env={**variables, "HOME": NO_FOLDER}, login_shells=False)


def run_hook(hook: Hook, payload: Mapping[str, object], ctx: ToolContext, total_memory_bytes: int = 0) -> HookAnswer:
    """Run a hook to its end and return what it says.

    total_memory_bytes: of all its processes together; 0: no limit
    Errors: those of raise_if_stop_requested: it was ended because the turn is to stop
    """
    limits = CommandLimits(
        cpu_seconds=CPU_SECONDS,
        memory_bytes=MEMORY_BYTES,
        processes=PROCESSES,
        file_size_bytes=FILE_SIZE_BYTES,
        wall_seconds=hook["timeoutSec"],
        output_bytes=OUTPUT_BYTES,
        total_memory_bytes=total_memory_bytes,
    )
    spec = CommandSpec(
        argv=[default_shell(), "-lc" if ctx.login_shells else "-c", hook["command"]],
        cwd=ctx.cwd,
        policy=ctx.sandbox,
        limits=limits,
        has_input=True,
        separate_stderr=True,
        env=ctx.env,
    )
    output = _Output()
    try:
        process = Process(spec, on_bytes=output.add, authority=ctx.sessions.authority)
    except (ToolError, SandboxUnavailable) as error:
        return failed(f"hook could not be started: {error}")
    output.process = process
    _feed(process, orjson.dumps(payload) + b"\n", ctx)
    process.wait_or_stop(ctx.signal, None, drain_s=DRAIN_SECONDS)
    if process.stopped_by in REASONS.values():
        raise_if_stop_requested(ctx.signal)
    if output.overflows:
        return failed(f"hook wrote more than {OUTPUT_BYTES} bytes and was ended")
    if process.stopped_by == TIME_LIMIT:
        return failed(f"hook timed out after {hook['timeoutSec']}s")
    if process.stopped_by is not None or process.exit_code is None:
        return failed(f"hook was ended by {process.stopped_by}")
    return read_answer(hook["eventName"], process.exit_code, process.output.text(), process.stderr.text())


def _feed(process: Process, data: bytes, ctx: ToolContext) -> None:
    """Write a hook's input as it reads it; one that does not read is ended by its time limit."""
    for start in range(0, len(data), INPUT_PIECE_BYTES):
        while not process.ended:
            try:
                process.write(data[start : start + INPUT_PIECE_BYTES])
                break
            except ToolError:
                process.wait_or_stop(ctx.signal, FEED_SECONDS, drain_s=DRAIN_SECONDS)
    process.end_input()


class _Output:
    """Counts what a hook writes, and ends a hook that writes too much. `add` is called in the commands' thread."""

    def __init__(self) -> None:
        self.process: Process | None = None
        self._sizes = [0, 0]

    @property
    def overflows(self) -> bool:
        return max(self._sizes) > OUTPUT_BYTES

    def add(self, stream: int, data: bytes) -> bool:
        if stream:
            self._sizes[stream - 1] += len(data)
            if self.overflows and self.process is not None:
                self.process.terminate("its output limit")
        return True
