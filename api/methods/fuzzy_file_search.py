"""fuzzyFileSearch: Find files and folders by some characters of their path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import FOLDER, Example
from api.requests.params import MethodParams
from api.requests.sandbox_policy import allowed_path
from api.requests.worker_calls import call_worker

NAME = "fuzzyFileSearch"
SLOW = True
MAX_QUERY_CHARACTERS = 200
MAX_ROOTS = 16

Query = Annotated[str, validate.Length(max=MAX_QUERY_CHARACTERS)]
Roots = Annotated[list[str], validate.Length(max=MAX_ROOTS)]


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """What to find, and where.

    query: characters that the path contains in this order
    roots: absolute paths of the folders to search
    cancellation_token: names the search; a later search of this connection with the same token ends it
    Errors: InvalidParams (a path); InvalidRequest (no such folder); Unavailable (no worker is free); CallLost (the
            worker was lost)
    """

    query: Query
    roots: Roots
    cancellation_token: str | None = None


class FoundFile(TypedDict):
    """A match; snake_case on the wire too.

    root:    the searched folder
    path:    below the root
    score:   higher is better
    indices: positions of the query's characters in the path
    """

    root: str
    path: str
    match_type: Literal["file", "directory"]
    file_name: str
    score: int
    indices: Sequence[int] | None


@dataclass(frozen=True)
class Result:
    """files: the best matches first, at most 50"""

    files: Sequence[FoundFile]


EXAMPLE = Example(
    params={"query": "notes", "roots": [FOLDER]},
    result={
        "files": [
            {
                "root": FOLDER,
                "path": "notes.txt",
                "match_type": "file",
                "file_name": "notes.txt",
                "score": 140,
                "indices": [0, 1, 2, 3, 4],
            }
        ]
    },
)


def handle(ctx: Context, params: Params) -> Result:
    if not params.query:
        return Result(files=[])
    return Result(files=search(ctx, params.query, checked_roots(ctx, params.roots), params.cancellation_token))


def checked_roots(ctx: Context, roots: list[str]) -> list[str]:
    """Return the roots normalised. Errors: InvalidParams (one that the user may not name)."""
    return [allowed_path(ctx.config, ctx.user_id, root, "roots") for root in roots]


def search_name(token: str) -> str:
    """Return the name under which the connection keeps a search."""
    return f"{NAME} {token!r}"


def search(ctx: Context, query: str, roots: list[str], token: str | None) -> Sequence[FoundFile]:
    """Return the matches.

    Errors: those of call_worker; InvalidRequest when a newer search with the same token begins
    """
    name = None if token is None else search_name(token)
    if name is not None and ctx.connection is not None:
        ctx.connection.calls.cancel(name)
    files: Sequence[FoundFile] = call_worker(ctx, NAME, {"query": query, "roots": roots}, name=name)["files"]
    return files
