"""fs/createDirectory: Create a folder."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import FOLDER, Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import audit_path, check_writable, checked_path

NAME = "fs/createDirectory"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The folder.

    path:      absolute
    recursive: whether folders above it are created too
    Errors: InvalidParams (the path); InvalidRequest (what the file system reports); NotFound; Unavailable (no worker is
            free); CallLost (the worker was lost)
    """

    path: str
    recursive: bool = True


Result = Empty
EXAMPLE = Example(params={"path": FOLDER + "/src", "recursive": True})


def handle(ctx: Context, params: Params) -> Result:
    check_writable(ctx)
    path = checked_path(ctx, params.path, "path")
    audit_path(ctx, NAME, path)
    call_worker(ctx, NAME, {"path": path, "recursive": params.recursive})
    return Result()
