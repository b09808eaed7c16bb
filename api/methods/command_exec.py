"""command/exec: run a command in the sandbox, outside of any thread."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.connection import notification
from api.context import Context
from api.params import ParamsSchema
from api.settings import changes
from api.workspace import check_paths, note_act
from shared.errors import InvalidParams, InvalidRequest
from shared.protocol.base import WireSchema

NAME = "command/exec"
SLOW = True
TIMEOUT_MS = 10_000
MAX_TIMEOUT_MS = 24 * 3600 * 1000
OUTPUT_CAP_BYTES = 1024 * 1024
MAX_WORDS = 10_000
MAX_VARIABLES = 1_000
MAX_CELLS = 0xFFFF
PROFILES = {
    ":read-only": "read-only",
    ":workspace": "workspace-write",
    ":danger-full-access": "danger-full-access",
}


class SizeSchema(ParamsSchema):
    """A terminal's size. Shape: {"rows": int, "cols": int}, in characters"""

    rows = fields.Int(required=True, validate=validate.Range(1, MAX_CELLS))
    cols = fields.Int(required=True, validate=validate.Range(1, MAX_CELLS))


class Params(ParamsSchema):
    """Shape:  {"command": [str, 1 or more], "cwd": absolute path = the user's workspaces, "env": {name: str|null}?,
             "timeoutMs": int = 10 000, "disableTimeout": bool (a day), "sandboxPolicy": policy object, or
             "permissionProfile": id, default: the server's policy; "outputBytesCap": of each stream, int = 1 MiB,
             "disableOutputCap": bool (6 MiB, or all that is streamed)}, and for a connection that follows it
             {"processId": str, "tty", "streamStdin", "streamStdoutStderr": bool, "size": rows and columns of the tty}
    Errors: InvalidParams, InvalidRequest (what does not go together; the folder; the processId is taken); those of
            Context.call
    Source: the original's schema; PROTOCOL 5.12
    """

    command = fields.List(fields.Str(), required=True, validate=validate.Length(max=MAX_WORDS))
    process_id = fields.Str(load_default=None)
    tty = fields.Bool(load_default=False)
    stream_stdin = fields.Bool(load_default=False)
    stream_stdout_stderr = fields.Bool(load_default=False)
    output_bytes_cap = fields.Int(load_default=None, validate=validate.Range(0))
    disable_output_cap = fields.Bool(load_default=False)
    disable_timeout = fields.Bool(load_default=False)
    timeout_ms = fields.Int(load_default=None)
    cwd = fields.Str(load_default=None)
    env = fields.Dict(
        keys=fields.Str(validate=validate.Regexp(r"[^=\0]+\Z", error="not the name of a variable of env")),
        values=fields.Str(allow_none=True, validate=validate.ContainsNoneOf("\0")),
        load_default=dict,
        validate=validate.Length(max=MAX_VARIABLES),
    )
    size = fields.Nested(SizeSchema, load_default=None)
    sandbox_policy = fields.Dict(load_default=None)
    permission_profile = fields.Str(load_default=None)


class Result(WireSchema):
    """exit_code: 124 after a time-out, 128 + n after signal n; stdout, stderr: empty where they were streamed"""

    exit_code = fields.Int()
    stdout = fields.Str()
    stderr = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    check(params)
    process_id = params["process_id"]
    if process_id is not None and ctx.connection is None:
        raise InvalidRequest("command/exec with a processId needs a WebSocket")
    if params["cwd"] is not None:
        check_paths(ctx, params, "cwd")

    def pass_on(output: dict[str, Any]) -> None:
        assert ctx.connection is not None
        delta = {"stream": output["stream"], "deltaBase64": output["delta_base64"], "capReached": output["cap_reached"]}
        method = "command/exec/outputDelta"
        if method not in ctx.connection.opted_out:
            ctx.connection.send([notification(method, {"processId": process_id, **delta})])

    asked = {
        "command": params["command"],
        "cwd": params["cwd"],
        "env": params["env"],
        "sandbox_policy": policy(ctx, params),
        "tty": params["tty"],
        "stream_stdin": params["tty"] or params["stream_stdin"],
        "stream_output": params["tty"] or params["stream_stdout_stderr"],
        "output_bytes_cap": None if params["disable_output_cap"] else params["output_bytes_cap"],
        "timeout_ms": None if params["disable_timeout"] else params["timeout_ms"],
        "size": params["size"],
    }
    name = None if process_id is None else process_name(process_id)
    note_act(ctx, NAME, params["cwd"])
    return ctx.call(NAME, asked, deadline_s=None, on_output=pass_on, name=name)


def process_name(process_id: str) -> str:
    """Under which a connection finds the call."""
    return f"{NAME} process id: {process_id!r}"


def policy(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    """The sandbox policy to run under, bounded by what this server allows. Errors: InvalidParams."""
    asked, profile = params["sandbox_policy"], params["permission_profile"]
    if asked is not None and profile is not None:
        raise InvalidParams("`permissionProfile` cannot be combined with `sandboxPolicy`")
    if profile is not None and profile not in PROFILES:
        raise InvalidParams(f"permissionProfile: expected one of {', '.join(PROFILES)}")
    if asked is not None:
        wanted: dict[str, Any] = {"sandbox_policy": asked}
    else:
        wanted = {"sandbox": PROFILES[profile] if profile else ctx.config.sandbox_mode}
    made: dict[str, Any] = changes(ctx.config, ctx.user_id, wanted)["sandboxPolicy"]
    return made


def check(params: dict[str, Any]) -> None:
    """Refuse what does not go together, and fill in the defaults. Errors: InvalidParams, InvalidRequest."""
    if not params["command"] or not params["command"][0]:
        raise InvalidRequest("command must not be empty")
    if any("\0" in word for word in params["command"]):
        raise InvalidParams("command: a word cannot hold a NUL")
    if params["process_id"] is None and (params["tty"] or params["stream_stdin"] or params["stream_stdout_stderr"]):
        raise InvalidRequest("command/exec tty or streaming requires a client-supplied processId")
    if params["size"] is not None and not params["tty"]:
        raise InvalidParams("command/exec size requires tty: true")
    if params["disable_output_cap"] and params["output_bytes_cap"] is not None:
        raise InvalidParams("command/exec cannot set both outputBytesCap and disableOutputCap")
    if params["disable_timeout"] and params["timeout_ms"] is not None:
        raise InvalidParams("command/exec cannot set both timeoutMs and disableTimeout")
    if params["timeout_ms"] is None:
        params["timeout_ms"] = TIMEOUT_MS
    if params["output_bytes_cap"] is None:
        params["output_bytes_cap"] = OUTPUT_CAP_BYTES
    if not 0 <= params["timeout_ms"] <= MAX_TIMEOUT_MS:
        raise InvalidParams(f"command/exec timeoutMs must be from 0 to {MAX_TIMEOUT_MS}, got {params['timeout_ms']}")
