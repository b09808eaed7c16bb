"""fuzzyFileSearch: files and folders by some letters of their path."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.params import ParamsSchema
from api.settings import allowed_path
from shared.protocol.base import WireSchema

NAME = "fuzzyFileSearch"
SLOW = True
MAX_QUERY_CHARACTERS = 200
MAX_ROOTS = 16


class Params(ParamsSchema):
    """Shape:  {"query": str, "roots": [absolute path], "cancellationToken": str?}
    Errors: InvalidParams (a path), InvalidRequest (no such folder); those of Context.call

    A token names a search: a later one of the same connection with the same token ends it.
    """

    query = fields.Str(required=True, validate=validate.Length(max=MAX_QUERY_CHARACTERS))
    roots = fields.List(fields.Str(), required=True, validate=validate.Length(max=MAX_ROOTS))
    cancellation_token = fields.Str(load_default=None)


class Result(WireSchema):
    """files: at most 50, best first: {"root", "path" below it, "match_type": "file" or "directory", "file_name",
    "score": int, "indices": of the letters in the path}
    """

    files = fields.List(fields.Dict())


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    if not params["query"]:
        return {"files": []}
    return search(ctx, params["query"], checked_roots(ctx, params["roots"]), params["cancellation_token"])


def checked_roots(ctx: Context, roots: list[str]) -> list[str]:
    """Errors: InvalidParams"""
    return [allowed_path(ctx.config, ctx.user_id, root, "roots") for root in roots]


def search_name(token: str) -> str:
    """Under which a connection finds the search."""
    return f"{NAME} {token!r}"


def search(ctx: Context, query: str, roots: list[str], token: str | None) -> dict[str, Any]:
    """Result. Errors: those of Context.call, InvalidRequest when a newer search of that token begins."""
    name = None if token is None else search_name(token)
    if name is not None and ctx.connection is not None:
        ctx.connection.drop_call(name)
    return ctx.call(NAME, {"query": query, "roots": roots}, name=name)
