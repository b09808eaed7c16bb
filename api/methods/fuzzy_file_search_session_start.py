"""fuzzyFileSearch/sessionStart: Begin a search session, whose searches all look in the same folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.delivery.active_calls import SearchSession
from api.methods.fuzzy_file_search import Roots, checked_roots
from api.requests.context import Context
from api.requests.examples import FOLDER, Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from shared.errors import InvalidRequest, Overloaded

NAME = "fuzzyFileSearch/sessionStart"
MAX_SESSIONS = 64  # per connection


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The session. It replaces the connection's session of the same id.

    session_id: chosen by the client
    roots:  absolute paths of the folders to search
    Errors: InvalidParams (a path); InvalidRequest (over HTTP: a session belongs to a WebSocket); Overloaded (too many
            sessions)
    """

    session_id: Annotated[str, validate.Length(1, error="sessionId must not be empty")]
    roots: Roots


Result = Empty
EXAMPLE = Example(params={"sessionId": "search-1", "roots": [FOLDER]})


def handle(ctx: Context, params: Params) -> Result:
    if ctx.connection is None:
        raise InvalidRequest("search sessions need a WebSocket; over HTTP use fuzzyFileSearch")
    sessions = ctx.connection.searches
    if len(sessions) >= MAX_SESSIONS and params.session_id not in sessions:
        raise Overloaded(f"a connection may have {MAX_SESSIONS} search sessions; stop one")
    sessions[params.session_id] = SearchSession(checked_roots(ctx, params.roots))
    return Result()
