"""fs/writeFile: Create a file, or replace its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from api.requests.context import Context
from api.requests.examples import FILE, Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from api.requests.worker_calls import call_worker
from api.requests.workspace_paths import audit_path, check_writable, checked_path, is_base64

NAME = "fs/writeFile"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The file.

    path:        absolute
    data_base64: the content
    Errors: InvalidParams (the path); InvalidRequest (what the file system reports); NotFound; Unavailable (no worker is
            free); CallLost (the worker was lost)
    """

    path: str
    data_base64: Annotated[str, is_base64]


Result = Empty
EXAMPLE = Example(params={"path": FILE, "dataBase64": "aGVsbG8K"})


def handle(ctx: Context, params: Params) -> Result:
    check_writable(ctx)
    path = checked_path(ctx, params.path, "path")
    audit_path(ctx, NAME, path)
    call_worker(ctx, NAME, {"path": path, "data_base64": params.data_base64})
    return Result()
