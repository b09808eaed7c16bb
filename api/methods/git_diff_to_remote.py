"""gitDiffToRemote: Show how a working tree differs from its newest commit that a remote has."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import FILE, FOLDER, Example
from api.requests.params import MethodParams
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import checked_path

NAME = "gitDiffToRemote"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The working tree.

    cwd: absolute path of a folder in it
    Errors: InvalidParams (the path); InvalidRequest (no repository, or no commit of it is at a remote); Unavailable (no
            worker is free); CallLost (the worker was lost)
    """

    cwd: str


@dataclass(frozen=True)
class Result:
    """The commit, and the changes since it.

    sha:  of the commit
    diff: a unified diff; files that git does not track count as added
    """

    sha: str
    diff: str


EXAMPLE = Example(
    params={"cwd": FOLDER},
    result={"sha": "5f2c1e9d0b7a4c3e8d6f1a2b3c4d5e6f7a8b9c0d", "diff": f"diff --git a{FILE} b{FILE}\n…"},
)


def handle(ctx: Context, params: Params) -> Result:
    return Result(**call_worker(ctx, NAME, {"cwd": checked_path(ctx, params.cwd, "cwd")}))
