"""fs/copy: Copy a file or a folder."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import FILE, Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import audit_path, check_writable, checked_path

NAME = "fs/copy"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """What to copy, and where to.

    source_path, destination_path: absolute
    recursive: needed to copy a folder
    Errors: InvalidParams (a path); InvalidRequest (what the file system reports); NotFound; Unavailable (no worker is
            free); CallLost (the worker was lost)
    """

    source_path: str
    destination_path: str
    recursive: bool = False


Result = Empty
EXAMPLE = Example(params={"sourcePath": FILE, "destinationPath": FILE + ".bak"})


def handle(ctx: Context, params: Params) -> Result:
    check_writable(ctx)
    source = checked_path(ctx, params.source_path, "sourcePath")
    destination = checked_path(ctx, params.destination_path, "destinationPath")
    audit_path(ctx, NAME, destination)
    call_worker(ctx, NAME, {"source_path": source, "destination_path": destination, "recursive": params.recursive})
    return Result()
