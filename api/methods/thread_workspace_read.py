"""thread/workspace/read: what became of a thread's workspace since its start. Not in the original."""

from __future__ import annotations

import base64
from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema, variant
from api.workspace import FORMATS, workspace_params
from shared.errors import InvalidRequest
from shared.protocol.base import WireSchema

NAME = "thread/workspace/read"
SLOW = True
READ_SECONDS = 660.0
MAX_BYTES = 11 * 1024 * 1024  # base64 makes a third more of it; a frame may have 16 MiB


class Params(ParamsSchema):
    """diff: a patch of all files against the start, for `git apply`; bundle: the same as commits, for `git fetch`;
    tar: all files as they are. `GET /v2/thread/workspace?threadId=…&format=…` streams larger ones.

    Shape:  {"threadId": UUIDv7, "format": "diff" | "bundle" | "tar" = "diff"}
    Errors: NotFound; Conflict (the workspace is still to be made); InvalidRequest (the thread works in a folder that is
            not its own; more than 11 MiB); those of Context.call
    """

    thread_id = fields.Str(required=True)
    format = fields.Str(load_default="diff", validate=variant(*FORMATS))


class Result(WireSchema):
    """data_base64: its bytes"""

    format = fields.Str()
    data_base64 = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    data = bytearray()

    def collect(output: dict[str, Any]) -> None:
        if output["stream"] == "stdout":
            data.extend(base64.b64decode(output["delta_base64"]))
        if len(data) > MAX_BYTES:
            raise InvalidRequest("more than 11 MiB; download it: GET /v2/thread/workspace?threadId=…&format=…")

    asked = workspace_params(ctx, params["thread_id"], params["format"])
    ctx.call(NAME, asked, deadline_s=READ_SECONDS, on_output=collect)
    return {"format": params["format"], "data_base64": base64.b64encode(data).decode()}
