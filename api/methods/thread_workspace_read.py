"""thread/workspace/read: Download what changed in a thread's workspace. Not part of the Codex protocol."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal

from api.methods.command_exec import CommandOutput
from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import workspace_params
from shared.errors import InvalidRequest

NAME = "thread/workspace/read"
SLOW = True
READ_SECONDS = 660.0
MAX_BYTES = 11 * 1024 * 1024  # as base64 it is a third larger, and a frame may have 16 MiB


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread, and the form of the download. `GET /v2/thread/workspace?threadId=…&format=…` streams larger ones.

    format: "diff": a patch of all files against the start, for `git apply`; "bundle": the same as commits, for
        `git fetch`; "tar": all files as they are
    Errors: NotFound; Conflict (the workspace is not made yet); InvalidRequest (the thread works in a folder that is not
            its own, or the download has more than 11 MiB); Unavailable (no worker is free); CallLost (the worker was
            lost)
    """

    format: Literal["diff", "bundle", "tar"] = "diff"


@dataclass(frozen=True)
class Result:
    """data_base64: the bytes of the download"""

    format: str
    data_base64: str


EXAMPLE = Example(params={**ON_THREAD, "format": "diff"}, result={"format": "diff", "dataBase64": "ZGlmZiAtLWdpdCBh…"})


def handle(ctx: Context, params: Params) -> Result:
    data = bytearray()

    def collect(output: CommandOutput) -> None:
        if output["stream"] == "stdout":
            data.extend(base64.b64decode(output["delta_base64"]))
        if len(data) > MAX_BYTES:
            raise InvalidRequest("more than 11 MiB; download it: GET /v2/thread/workspace?threadId=…&format=…")

    wanted = workspace_params(ctx, params.thread_id, params.format)
    call_worker(ctx, NAME, wanted, deadline_s=READ_SECONDS, on_output=collect)
    return Result(format=params.format, data_base64=base64.b64encode(data).decode())
