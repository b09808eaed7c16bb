"""fuzzyFileSearch/sessionStart: say where the searches that follow look."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.connection import SearchSession
from api.context import Context
from api.methods.fuzzy_file_search import MAX_ROOTS, checked_roots
from api.params import ParamsSchema
from api.results import Empty
from shared.errors import InvalidRequest, Overloaded

NAME = "fuzzyFileSearch/sessionStart"
MAX_SESSIONS = 64  # of a connection


class Params(ParamsSchema):
    """Shape:  {"sessionId": str, not empty, "roots": [absolute path]}; one of the same id is replaced
    Errors: InvalidParams (a path), InvalidRequest (over HTTP: sessions belong to a connection), Overloaded
    """

    session_id = fields.Str(required=True, validate=validate.Length(1, error="sessionId must not be empty"))
    roots = fields.List(fields.Str(), required=True, validate=validate.Length(max=MAX_ROOTS))


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    if ctx.connection is None:
        raise InvalidRequest("search sessions need a WebSocket")
    sessions = ctx.connection.searches
    if len(sessions) >= MAX_SESSIONS and params["session_id"] not in sessions:
        raise Overloaded(f"a connection may have {MAX_SESSIONS} search sessions")
    sessions[params["session_id"]] = SearchSession(checked_roots(ctx, params["roots"]))
    return {}
