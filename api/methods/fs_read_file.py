"""fs/readFile: Read a whole file."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import FILE, Example
from api.requests.params import MethodParams
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import checked_path

NAME = "fs/readFile"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The file.

    path: absolute
    Errors: InvalidParams (the path); InvalidRequest (what the file system reports); NotFound; Unavailable (no worker is
            free); CallLost (the worker was lost)
    """

    path: str


@dataclass(frozen=True)
class Result:
    """data_base64: the content, at most 11 MiB"""

    data_base64: str


EXAMPLE = Example(params={"path": FILE}, result={"dataBase64": "aGVsbG8K"})


def handle(ctx: Context, params: Params) -> Result:
    return Result(**call_worker(ctx, NAME, {"path": checked_path(ctx, params.path, "path")}))
