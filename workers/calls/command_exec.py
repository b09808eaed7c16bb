"""command/exec: run a command of a client outside of any thread, in the same sandbox as the commands of a model.

Its limits are those of a model's commands. It ends at its time limit, with its caller, and with its worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from shared.config import Config
from shared.protocol.settings import SandboxPolicy as WirePolicy
from workers.calls import client_command
from workers.calls.client_command import MAX_BUFFERED_BYTES, SHELL_OUTPUT_BYTES, ClientOutput
from workers.calls.running import RunningCall
from workers.sandbox.command_spec import TERMINAL_ROWS_COLUMNS, CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.workspace.scope import shell_variables, workspace_scope

TIMED_OUT = 124  # exit code, as in timeout(1)
UNTIMED_SECONDS = 24 * 3600.0  # limit of a command without a timeout


class TerminalSize(TypedDict):
    """Size of a terminal in characters."""

    rows: int
    cols: int


class Params(TypedDict):
    """A command.

    env:              additional variables, and null for those to leave out
    output_bytes_cap: of each stream; null: no cap
    timeout_ms:       null: UNTIMED_SECONDS
    """

    command: Sequence[str]
    cwd: str | None
    env: Mapping[str, str | None] | None
    sandbox_policy: WirePolicy
    tty: bool
    stream_stdin: bool
    stream_output: bool
    output_bytes_cap: int | None
    timeout_ms: int | None
    size: TerminalSize | None


class Result(TypedDict):
    """How the command ended. stdout, stderr: empty when they were streamed."""

    exit_code: int | None
    stdout: str
    stderr: str


def run(config: Config, call: RunningCall, params: Params) -> Result:
    """Run the command to its end.

    Output:   {"stream", "delta_base64", "cap_reached"}, when it is streamed
    Messages: see client_command.handle_message
    Errors:   InvalidRequest, ToolError; CallLost when the worker shuts down
    """
    scope = workspace_scope(config, call.owner)
    cwd = scope.cwd(params["cwd"])
    streamed = params["stream_output"]
    cap = params["output_bytes_cap"]
    output = ClientOutput(cap if streamed or cap is None else min(cap, MAX_BUFFERED_BYTES), streamed=streamed)
    timeout_ms = params["timeout_ms"]
    size = params["size"]
    spec = CommandSpec(
        argv=params["command"],
        cwd=cwd,
        policy=client_command.policy_for(config, scope, params["sandbox_policy"], cwd),
        limits=CommandLimits(
            wall_seconds=UNTIMED_SECONDS if timeout_ms is None else timeout_ms / 1000,
            output_bytes=SHELL_OUTPUT_BYTES,
            total_memory_bytes=config.limits.command_memory_bytes if scope.hosted else 0,
        ),
        tty=params["tty"],
        rows_columns=(size["rows"], size["cols"]) if size else TERMINAL_ROWS_COLUMNS,
        has_input=params["stream_stdin"],
        separate_stderr=not params["tty"],
        env={**shell_variables(config), **(params["env"] or {})},
    )
    process = client_command.run(spec, call, output)
    code = TIMED_OUT if process.stopped_by == "time limit" else process.exit_code
    texts = output.collected()
    return {"exit_code": code, "stdout": texts["stdout"], "stderr": texts["stderr"]}
