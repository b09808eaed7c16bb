"""The transport of a server that is a program: it runs in the tool runner's sandbox, like any command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial

import anyio
import mcp_types
from mcp.client._transport import TransportStreams
from mcp.shared.message import SessionMessage
from pydantic_core import from_json

from shared.errors import ToolError
from workers.mcp.lines import Ending, Lines, Pauses
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.process import Process

_STARTS = ThreadPoolExecutor(8, "mcp-start")
# A member that only messages of one class have, and the class.
KINDS: tuple[tuple[str, type[mcp_types.JSONRPCMessage]], ...] = (
    ("method", mcp_types.JSONRPCRequest),
    ("result", mcp_types.JSONRPCResponse),
    ("error", mcp_types.JSONRPCError),
)
MIN_SECRET_CHARACTERS = 6  # shorter values of variables are switches and numbers
EXIT_SECONDS = 2.0  # for a program to end by itself, after the end of its input


@asynccontextmanager
async def program(spec: CommandSpec, ending: Ending) -> AsyncIterator[TransportStreams]:
    """Start a program and yield its streams; at the end of the block it is ended with all of its processes.

    ending: set when the program has ended
    Errors: ToolError (it cannot be started)
    """
    lines = Lines(asyncio.get_running_loop())
    process = await _start(spec, lines)
    lines.resume = process.resume
    from_program, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, to_program = anyio.create_memory_object_stream[SessionMessage](0)

    async def pass_output() -> None:
        pauses = Pauses()
        async with from_program:
            while (line := await lines.next()) is not None:
                await pauses.after(1, len(line))
                try:
                    await from_program.send(_message(line))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    break
            ending.set(process.exit_code, _last_words(process))

    async def pass_input() -> None:
        async with to_program:
            async for sent in to_program:
                text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                try:
                    process.write(text.encode() + b"\n")
                except ToolError:  # it reads nothing any more
                    process.terminate("an MCP server that reads no input")

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pass_output)
            tasks.start_soon(pass_input)
            yield read, write
            tasks.cancel_scope.cancel()
    finally:
        for stream in (read, write, from_program, to_program):
            stream.close()
        process.end_input()
        process.terminate("the end of its MCP session", after_s=EXIT_SECONDS)


async def _start(spec: CommandSpec, lines: Lines) -> Process:
    """Start the program in another thread, for the runner is waited for. A start that nobody waits for is undone."""
    starting = asyncio.get_running_loop().run_in_executor(_STARTS, partial(Process, spec, on_bytes=lines.feed))

    def undo(started: asyncio.Future[Process]) -> None:
        if not started.cancelled() and started.exception() is None:
            started.result().terminate("the end of its MCP session")

    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        starting.add_done_callback(undo)
        raise


def _last_words(process: Process) -> str:
    """Return the last line of a program's standard error, without the values of the variables that it was given."""
    lines = process.stderr.text().split("\n")
    words = next((line.strip() for line in reversed(lines) if line.strip()), "")
    for value in sorted((one for one in process.spec.env.values() if one), key=len, reverse=True):
        if len(value) >= MIN_SECRET_CHARACTERS:
            words = words.replace(value, "[redacted]")
    return words


def _message(line: bytes) -> SessionMessage | Exception:
    """Return the message of a line. Only the class that its members name checks it, because a line may be long."""
    try:
        value = from_json(line)
        if not isinstance(value, dict):
            raise ValueError("a message is an object")
        kind = next((kind for member, kind in KINDS if member in value), None)
        if kind is None:
            raise ValueError("a message is a request, a notification, a result or an error")
        if "method" in value and "id" not in value:
            return SessionMessage(mcp_types.JSONRPCNotification.model_validate(value, by_name=False))
        return SessionMessage(kind.model_validate(value, by_name=False))
    except ValueError as error:
        return error
