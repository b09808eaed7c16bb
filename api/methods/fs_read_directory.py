"""fs/readDirectory: List the entries of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests.context import Context
from api.requests.examples import FOLDER, Example
from api.requests.params import MethodParams
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import checked_path

NAME = "fs/readDirectory"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The folder.

    path: absolute
    Errors: InvalidParams (the path); InvalidRequest (what the file system reports); NotFound; Unavailable (no worker is
            free); CallLost (the worker was lost)
    """

    path: str


class DirectoryEntry(TypedDict):
    """One entry.

    isDirectory, isFile: of the target, if the entry is a symbolic link
    """

    fileName: str
    isDirectory: bool
    isFile: bool


@dataclass(frozen=True)
class Result:
    """entries: sorted by name, at most 10 000"""

    entries: Sequence[DirectoryEntry]


EXAMPLE = Example(
    params={"path": FOLDER}, result={"entries": [{"fileName": "notes.txt", "isDirectory": False, "isFile": True}]}
)


def handle(ctx: Context, params: Params) -> Result:
    found = call_worker(ctx, NAME, {"path": checked_path(ctx, params.path, "path")})
    entries: list[DirectoryEntry] = [
        {"fileName": entry["file_name"], "isDirectory": entry["is_directory"], "isFile": entry["is_file"]}
        for entry in found["entries"]
    ]
    return Result(entries=entries)
