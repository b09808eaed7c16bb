"""command/exec: Run a command in the sandbox, outside of any thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypedDict

from marshmallow import validate

from api.delivery.frames import notification
from api.requests.context import Context
from api.requests.examples import FOLDER, Example
from api.requests.params import MethodParams
from api.requests.sandbox_policy import allowed_mode, allowed_policy
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import audit_path, checked_path
from shared.errors import InvalidParams, InvalidRequest
from shared.protocol.sandbox_modes import MODE_OF_PROFILE
from shared.protocol.settings import SandboxPolicy

NAME = "command/exec"
SLOW = True
TIMEOUT_MS = 10_000
MAX_TIMEOUT_MS = 24 * 3600 * 1000
OUTPUT_CAP_BYTES = 1024 * 1024
MAX_WORDS = 10_000
MAX_VARIABLES = 1_000
MAX_CELLS = 0xFFFF

VariableName = Annotated[
    str, validate.Regexp(r"[^=\0]+\Z", error="expected names of env variables, without `=` and without NUL")
]
VariableValue = Annotated[str, validate.ContainsNoneOf("\0")]


@dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a terminal. rows, cols: in characters"""

    rows: Annotated[int, validate.Range(1, MAX_CELLS)]
    cols: Annotated[int, validate.Range(1, MAX_CELLS)]


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The command, and how to run it.

    A client on a WebSocket can give the command a `processId`. It then receives the output as
    `command/exec/outputDelta` and can use command/exec/write, command/exec/resize and command/exec/terminate.

    command:     the program and its arguments
    process_id:  names the command on this connection; needed for tty, streamStdin and streamStdoutStderr
    tty:         whether the command gets a terminal; includes both kinds of streaming
    stream_stdin: whether command/exec/write can send input
    stream_stdout_stderr: whether output is sent as it comes, instead of in the result
    output_bytes_cap: bytes of each stream that are kept or sent; by default 1 MiB
    disable_output_cap: keep up to 6 MiB of each stream, or send all of it when it is streamed
    disable_timeout: let the command run for up to a day
    timeout_ms:  by default 10 000
    cwd:         absolute path; by default the folder of the user's workspaces
    env:         variables that are added to the environment; null removes one
    size:        of the terminal; needs `tty`
    sandbox_policy: a policy object; by default the server's policy
    permission_profile: the id of a permission profile, instead of `sandboxPolicy`
    Errors: InvalidParams; InvalidRequest (members that contradict each other, a folder that does not exist, a processId
            that is in use); Unavailable (no worker is free); CallLost (the worker was lost)
    Source: the original's schema; PROTOCOL 5.12
    """

    command: Annotated[list[str], validate.Length(max=MAX_WORDS)]
    process_id: str | None = None
    tty: bool = False
    stream_stdin: bool = False
    stream_stdout_stderr: bool = False
    output_bytes_cap: Annotated[int, validate.Range(0)] | None = None
    disable_output_cap: bool = False
    disable_timeout: bool = False
    timeout_ms: int | None = None
    cwd: str | None = None
    env: Annotated[Mapping[VariableName, VariableValue | None], validate.Length(max=MAX_VARIABLES)] = dataclasses.field(
        default_factory=dict
    )
    size: Size | None = None
    sandbox_policy: Annotated[Mapping[str, object], SandboxPolicy] | None = None
    permission_profile: str | None = None


@dataclass(frozen=True)
class Result:
    """How the command ended, and its output.

    exit_code: 124 after a timeout, 128 + n after signal n
    stdout, stderr: empty when the output was streamed
    """

    exit_code: int
    stdout: str
    stderr: str


class CommandOutput(TypedDict):
    """A piece of output, as the worker sends it. stream: "stdout" or "stderr"."""

    stream: str
    delta_base64: str
    cap_reached: bool


EXAMPLE = Example(
    params={"command": ["ls", "-l"], "cwd": FOLDER}, result={"exitCode": 0, "stdout": "notes.txt\n", "stderr": ""}
)


def handle(ctx: Context, params: Params) -> Result:
    check(params)
    process_id = params.process_id
    if process_id is not None and ctx.connection is None:
        raise InvalidRequest("command/exec with a processId needs a WebSocket")
    cwd = None if params.cwd is None else checked_path(ctx, params.cwd, "cwd")

    def publish_output(output: CommandOutput) -> None:
        assert ctx.connection is not None
        delta = {"stream": output["stream"], "deltaBase64": output["delta_base64"], "capReached": output["cap_reached"]}
        method = "command/exec/outputDelta"
        if method not in ctx.connection.opted_out:
            ctx.connection.send([notification(method, {"processId": process_id, **delta})])

    wanted = {
        "command": params.command,
        "cwd": cwd,
        "env": params.env,
        "sandbox_policy": sandbox_policy(ctx, params),
        "tty": params.tty,
        "stream_stdin": params.tty or params.stream_stdin,
        "stream_output": params.tty or params.stream_stdout_stderr,
        "output_bytes_cap": _output_bytes_cap(params),
        "timeout_ms": _timeout_ms(params),
        "size": None if params.size is None else dataclasses.asdict(params.size),
    }
    name = None if process_id is None else process_name(process_id)
    audit_path(ctx, NAME, cwd)
    return Result(**call_worker(ctx, NAME, wanted, deadline_s=None, on_output=publish_output, name=name))


def process_name(process_id: str) -> str:
    """Return the name under which the connection keeps the call."""
    return f"{NAME} process id: {process_id!r}"


def sandbox_policy(ctx: Context, params: Params) -> SandboxPolicy:
    """Return the sandbox policy to run under, within what this server allows. Errors: InvalidParams."""
    policy, profile = params.sandbox_policy, params.permission_profile
    if policy is not None and profile is not None:
        raise InvalidParams("`permissionProfile` cannot be combined with `sandboxPolicy`")
    if profile is not None and profile not in MODE_OF_PROFILE:
        raise InvalidParams(f"permissionProfile: expected one of {', '.join(MODE_OF_PROFILE)}")
    if policy is not None:
        return allowed_policy(ctx.config, ctx.user_id, policy)
    return allowed_mode(ctx.config, ctx.user_id, MODE_OF_PROFILE[profile] if profile else ctx.config.sandbox_mode)


def check(params: Params) -> None:
    """Refuse members that contradict each other. Errors: InvalidParams, InvalidRequest."""
    if not params.command or not params.command[0]:
        raise InvalidRequest("command must not be empty")
    if any("\0" in word for word in params.command):
        raise InvalidParams("command: an argument cannot contain NUL")
    if params.process_id is None and (params.tty or params.stream_stdin or params.stream_stdout_stderr):
        raise InvalidRequest("command/exec tty or streaming requires a client-supplied processId")
    if params.size is not None and not params.tty:
        raise InvalidParams("command/exec size requires tty: true")
    if params.disable_output_cap and params.output_bytes_cap is not None:
        raise InvalidParams("command/exec cannot set both outputBytesCap and disableOutputCap")
    if params.disable_timeout and params.timeout_ms is not None:
        raise InvalidParams("command/exec cannot set both timeoutMs and disableTimeout")
    if params.timeout_ms is not None and not 0 <= params.timeout_ms <= MAX_TIMEOUT_MS:
        raise InvalidParams(f"command/exec timeoutMs must be from 0 to {MAX_TIMEOUT_MS}, got {params.timeout_ms}")


def _output_bytes_cap(params: Params) -> int | None:
    if params.disable_output_cap:
        return None
    return OUTPUT_CAP_BYTES if params.output_bytes_cap is None else params.output_bytes_cap


def _timeout_ms(params: Params) -> int | None:
    if params.disable_timeout:
        return None
    return TIMEOUT_MS if params.timeout_ms is None else params.timeout_ms
