"""fs/getMetadata: Show what is at a path."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import BEGIN_MS, FILE, Example
from api.requests.params import MethodParams
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import checked_path

NAME = "fs/getMetadata"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The path.

    path: absolute
    Errors: InvalidParams (the path); InvalidRequest (what the file system reports); NotFound; Unavailable (no worker is
            free); CallLost (the worker was lost)
    """

    path: str


@dataclass(frozen=True)
class Result:
    """What is there. Times are Unix milliseconds.

    is_directory, is_file: of the target, if the path is a symbolic link
    created_at_ms: always 0: not known
    """

    is_directory: bool
    is_file: bool
    is_symlink: bool
    created_at_ms: int
    modified_at_ms: int


EXAMPLE = Example(
    params={"path": FILE},
    result={
        "isDirectory": False,
        "isFile": True,
        "isSymlink": False,
        "createdAtMs": 0,
        "modifiedAtMs": BEGIN_MS,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    return Result(**call_worker(ctx, NAME, {"path": checked_path(ctx, params.path, "path")}))
