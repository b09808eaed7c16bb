"""command/exec: a command of a client, outside of any thread, in the same sandbox as those of a model.

Its limits are those of a model's commands. It ends with its time, with its caller, and with its worker.
"""

from __future__ import annotations

import base64
import queue
import threading
from pathlib import Path
from typing import Any

from shared import calls
from shared.config import Config
from shared.errors import CallLost, ToolError
from workers.calls.area import Area, area, server_folders
from workers.calls.running import RunningCall
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import TERMINAL_ROWS_COLUMNS, Process
from workers.workspace import bounded

TIMED_OUT = 124  # exit code, as of timeout(1)
UNTIMED_SECONDS = 24 * 3600.0  # of a command without a time-out
MAX_BUFFERED_BYTES = 6 * 1024 * 1024  # of each stream in the result, whatever the client asks for
MAX_WAITING_BYTES = 1024 * 1024  # of output on its way; then the command is held up
STREAMS = {1: "stdout", 2: "stderr"}


def run(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """Run it to its end.

    Takes:   {"command": [str], "cwd": str?, "env": {name: str?}, "sandbox_policy", "tty", "stream_stdin",
             "stream_output", "output_bytes_cap": bytes or null for none, "timeout_ms": ms or null for none, "size"?}
    Output:  {"stream", "delta_base64", "cap_reached"}, when it is streamed
    Heard:   "write" {"delta_base64"?, "close_stdin"}, "resize" {"rows", "cols"}, "terminate"
    Returns: {"exit_code", "stdout", "stderr"}
    Errors:  InvalidRequest, ToolError; CallLost, when the worker shuts down
    """
    place = area(config, call.owner)
    cwd = place.cwd(params["cwd"])
    streamed = params["stream_output"]
    cap = params["output_bytes_cap"]
    output = Output(cap if streamed or cap is None else min(cap, MAX_BUFFERED_BYTES), streamed)
    timeout_ms = params["timeout_ms"]
    size = params["size"] or {}
    process = Process(
        params["command"],
        cwd=cwd,
        policy=policy(config, place, params["sandbox_policy"], cwd),
        limits=CommandLimits(
            wall_seconds=UNTIMED_SECONDS if timeout_ms is None else timeout_ms / 1000,
            output_bytes=1 << 17,
            total_memory_bytes=config.limits.command_memory_bytes if place.hosted else 0,
        ),
        tty=params["tty"],
        rows_columns=(size["rows"], size["cols"]) if size else TERMINAL_ROWS_COLUMNS,
        has_input=params["stream_stdin"],
        stderr_apart=not params["tty"],
        env=params["env"],
        on_bytes=output.take,
    )
    try:
        call.heard_by(lambda what, value: hear(process, what, value))
        output.pass_on(process, call)
    except BaseException:
        process.terminate("its output having nowhere to go")
        raise
    finally:
        process.wait()
    if call.draining:
        raise CallLost("the worker shut down and ended the command")
    code = TIMED_OUT if process.stopped_by == "time limit" else process.exit_code
    return {"exit_code": code, **output.kept()}


def policy(config: Config, place: Area, wire: dict[str, Any], cwd: Path) -> SandboxPolicy:
    """What a command of the owner may touch; of a hosted one all workspaces are one. Errors: ToolError."""
    hidden = server_folders(config)
    if not place.hosted:
        return SandboxPolicy.from_wire(wire, cwd, hidden=hidden)
    policy = SandboxPolicy.from_wire(wire, cwd, hidden=hidden, workspace=place.own)
    thread = place.own / cwd.relative_to(place.own).parts[0] if cwd != place.own else None
    return bounded(policy, config.limits, place.own, thread)


def hear(process: Process, what: str, value: Any) -> None:
    """Something that the caller says meanwhile."""
    if what == "write":
        try:
            process.write(base64.b64decode(value["delta_base64"] or ""))
        except ToolError:  # lost input would be worse than a command that ended
            process.terminate("its input being full")
        if value["close_stdin"]:
            process.end_input()
    elif what == "resize":
        process.resize(value["rows"], value["cols"])
    elif what == "terminate":
        process.terminate("request")
    elif what == calls.CANCEL:
        process.terminate("nobody waiting for it")


class Output:
    """What a command says, on its way from the commands' thread to the call's."""

    def __init__(self, cap: int | None, streamed: bool) -> None:
        """cap: bytes of each stream; None: all, or what a result can hold"""
        self._streamed = streamed
        most = float("inf") if streamed else MAX_BUFFERED_BYTES
        self._left = dict.fromkeys(STREAMS, most if cap is None else cap)
        self._kept = {number: bytearray() for number in STREAMS}
        self._pieces: queue.SimpleQueue[tuple[int, bytes, bool] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting_bytes = 0
        self._held = False

    def take(self, number: int, data: bytes) -> bool:
        """For Process: its `on_bytes`."""
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
            self._waiting_bytes += len(piece)
            self._held = self._waiting_bytes > MAX_WAITING_BYTES
            held = self._held
        self._pieces.put((number, piece, capped))
        return not held

    def pass_on(self, process: Process, call: RunningCall) -> None:
        """Send or keep it, to the end."""
        while (taken := self._pieces.get()) is not None:
            number, piece, capped = taken
            if self._streamed:
                delta = base64.b64encode(piece).decode()
                call.output({"stream": STREAMS[number], "delta_base64": delta, "cap_reached": capped})
            else:
                self._kept[number] += piece
            with self._lock:
                self._waiting_bytes -= len(piece)
                resumes = self._held and self._waiting_bytes < MAX_WAITING_BYTES // 2
                self._held = self._held and not resumes
            if resumes:
                process.resume()

    def kept(self) -> dict[str, str]:
        return {STREAMS[number]: _text(data) for number, data in self._kept.items()}


def _text(data: bytes | bytearray) -> str:
    return data.decode(errors="replace").replace("\0", "\ufffd")
