"""fuzzyFileSearch/sessionStop: End a search session."""

from __future__ import annotations

from dataclasses import dataclass

from api.methods.fuzzy_file_search import search_name
from api.methods.fuzzy_file_search_session_update import session_token
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.results import Empty

NAME = "fuzzyFileSearch/sessionStop"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """session_id: the session; one that does not exist is no error"""

    session_id: str


Result = Empty
EXAMPLE = Example(params={"sessionId": "search-1"})


def handle(ctx: Context, params: Params) -> Result:
    if ctx.connection is not None:
        ctx.connection.searches.pop(params.session_id, None)
        ctx.connection.calls.cancel(search_name(session_token(params.session_id)))
    return Result()
