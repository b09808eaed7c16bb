"""fuzzyFileSearch/sessionUpdate: search anew; what is found comes as a notification."""

from __future__ import annotations

import logging
from typing import Any

import redis
from marshmallow import fields, validate

from api.connection import Closed, SearchSession, notification
from api.context import Context
from api.methods.fuzzy_file_search import MAX_QUERY_CHARACTERS, search
from api.params import ParamsSchema
from api.results import Empty
from shared.errors import InvalidRequest, ThreadhouseError

NAME = "fuzzyFileSearch/sessionUpdate"
SLOW = True

logger = logging.getLogger(__name__)


class Params(ParamsSchema):
    """Shape:  {"sessionId": str, "query": str}
    Errors: InvalidRequest (no such session of this connection)

    After the reply: fuzzyFileSearch/sessionUpdated {"sessionId", "query", "files"}, then
    fuzzyFileSearch/sessionCompleted {"sessionId"}; nothing of a search that a newer one overtook.
    """

    session_id = fields.Str(required=True)
    query = fields.Str(required=True, validate=validate.Length(max=MAX_QUERY_CHARACTERS))


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    session = ctx.connection.searches.get(params["session_id"]) if ctx.connection else None
    if session is None:
        raise InvalidRequest(f"fuzzy file search session not found: {params['session_id']}")
    session.updates += 1
    ctx.after_reply(tell_found, ctx, session, session.updates, params["session_id"], params["query"])
    return {}


def tell_found(ctx: Context, session: SearchSession, update: int, session_id: str, query: str) -> None:
    """Search and say what was found; a search that fails found nothing."""
    assert ctx.connection is not None
    files = []
    try:
        if query:
            files = search(ctx, query, session.roots, session_token(session_id))["files"]
    except (ThreadhouseError, redis.RedisError) as error:
        logger.info("a search failed: %s", error)
    if session.updates != update or ctx.connection.searches.get(session_id) is not session:
        return
    found = {"sessionId": session_id, "query": query, "files": files}
    told = [
        notification("fuzzyFileSearch/sessionUpdated", found),
        notification("fuzzyFileSearch/sessionCompleted", {"sessionId": session_id}),
    ]
    try:
        ctx.connection.send(frame for frame in told if frame.method not in ctx.connection.opted_out)
    except Closed:
        pass


def session_token(session_id: str) -> str:
    """Under which a session's newest search ends the one before."""
    return f"session {session_id}"
