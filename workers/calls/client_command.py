"""Commands that run for a waiting client: what they may touch, and how client and command exchange input and output."""

from __future__ import annotations

import base64
import queue
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared.config import Config
from shared.errors import CallLost, ToolError
from shared.events import worker_calls
from shared.protocol.settings import SandboxPolicy as WirePolicy
from workers.calls.running import RunningCall
from workers.sandbox import files
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process
from workers.workspace.folders import bounded
from workers.workspace.scope import WorkspaceScope, server_folders

MAX_BUFFERED_BYTES = 6 * 1024 * 1024  # of each stream in the result, whatever the client asks for
MAX_QUEUED_BYTES = 1024 * 1024  # of output that the caller has not received; beyond it the command is paused
SHELL_OUTPUT_BYTES = 1 << 17  # that Process keeps; the caller gets the output by on_bytes
STREAMS = {1: "stdout", 2: "stderr"}


def policy_for(config: Config, scope: WorkspaceScope, wire: WirePolicy, cwd: Path) -> SandboxPolicy:
    """Return what a command of the owner may touch.

    A hosted owner's command may read all of their workspaces. It may write the one that contains cwd and those that
    writableRoots name, but never the folder that contains the workspaces: a link there could lead the server astray.
    Errors: ToolError
    """
    hidden = server_folders(config)
    if not scope.hosted:
        return SandboxPolicy.from_wire(wire, cwd, hidden=hidden)
    policy = SandboxPolicy.from_wire(wire, cwd, hidden=hidden, workspace=scope.own)
    thread = scope.own / cwd.relative_to(scope.own).parts[0] if cwd != scope.own else None
    if policy.writable_roots:
        roots = files.real_paths([cwd, *(cwd / root for root in wire.get("writableRoots") or ())])
        names = dict.fromkeys(root.relative_to(scope.own).parts[0] for root in roots if root != scope.own)
        policy = replace(policy, writable_roots=tuple(scope.own / name for name in names))
    return bounded(policy, config.limits, scope.own, thread)


def run(spec: CommandSpec, call: RunningCall, output: ClientOutput) -> Process:
    """Run a command to its end, while its caller may write to it, resize its terminal and end it.

    Errors: those of Process; CallLost when the worker shut down and ended the command
    """
    process = Process(spec, on_bytes=output.receive)
    try:
        call.subscribe(lambda what, value: handle_message(process, what, value))
        output.pass_on(process, call)
    except BaseException:
        process.terminate("its output having nowhere to go")
        raise
    finally:
        process.wait()
    if call.draining:
        raise CallLost("the worker shut down and ended the command")
    return process


def handle_message(process: Process, what: str, value: Any) -> None:
    """Apply what the caller sent: "write" {"delta_base64"?, "close_stdin"}, "resize" {"rows", "cols"}, "terminate"."""
    if what == "write":
        try:
            process.write(base64.b64decode(value["delta_base64"] or ""))
        except ToolError:  # dropping input would be worse than ending the command
            process.terminate("its input being full")
        if value["close_stdin"]:
            process.end_input()
    elif what == "resize":
        process.resize(value["rows"], value["cols"])
    elif what == "terminate":
        process.terminate("request")
    elif what == worker_calls.CANCEL:
        process.terminate("nobody waiting for it")


class ClientOutput:
    """The output of a command, on its way from the commands' thread to the thread of its call.

    It is either streamed to the caller or collected for the result.
    """

    def __init__(self, max_bytes: int | None, *, streamed: bool) -> None:
        """max_bytes: of each stream; None: everything, or what a result can carry."""
        self._streamed = streamed
        most = float("inf") if streamed else MAX_BUFFERED_BYTES
        self._left = dict.fromkeys(STREAMS, most if max_bytes is None else max_bytes)
        self._collected = {number: bytearray() for number in STREAMS}
        self._pieces: queue.SimpleQueue[tuple[int, bytes, bool] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._queued_bytes = 0
        self._paused = False

    def receive(self, number: int, data: bytes) -> bool:
        """Queue a piece of output: the on_bytes of Process. Return False when the command must pause."""
        if number == 0:
            self._pieces.put(None)
            return True
        left = self._left[number]
        if left < 0:
            return True
        piece = data if len(data) <= left else data[: int(left)]
        capped = len(piece) < len(data)
        self._left[number] = -1 if capped else left - len(piece)
        with self._lock:
            self._queued_bytes += len(piece)
            self._paused = self._queued_bytes > MAX_QUEUED_BYTES
            paused = self._paused
        self._pieces.put((number, piece, capped))
        return not paused

    def pass_on(self, process: Process, call: RunningCall) -> None:
        """Stream or collect all pieces, until the command has ended."""
        while (queued := self._pieces.get()) is not None:
            number, piece, capped = queued
            if self._streamed:
                delta = base64.b64encode(piece).decode()
                call.send_output({"stream": STREAMS[number], "delta_base64": delta, "cap_reached": capped})
            else:
                self._collected[number] += piece
            with self._lock:
                self._queued_bytes -= len(piece)
                resumes = self._paused and self._queued_bytes < MAX_QUEUED_BYTES // 2
                self._paused = self._paused and not resumes
            if resumes:
                process.resume()

    def collected(self) -> dict[str, str]:
        """Return the text of each stream; empty texts when the output was streamed."""
        return {STREAMS[number]: _text(data) for number, data in self._collected.items()}


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="replace").replace("\0", "\ufffd")
