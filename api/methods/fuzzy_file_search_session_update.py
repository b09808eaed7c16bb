"""fuzzyFileSearch/sessionUpdate: Search with a new query. The matches arrive as a notification."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from api.delivery.active_calls import SearchSession
from api.delivery.close_codes import Closed
from api.delivery.frames import notification
from api.methods.fuzzy_file_search import FoundFile, Query, search
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.results import Empty
from shared.errors import InvalidRequest, ThreadhouseError

NAME = "fuzzyFileSearch/sessionUpdate"
SLOW = True

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The session, and the new query.

    After the reply the client receives `fuzzyFileSearch/sessionUpdated` {"sessionId", "query", "files"}, then
    `fuzzyFileSearch/sessionCompleted` {"sessionId"}. Neither is sent when a newer query arrives first.

    session_id: from fuzzyFileSearch/sessionStart on this connection
    Errors: InvalidRequest (this connection has no such session)
    """

    session_id: str
    query: Query


Result = Empty
EXAMPLE = Example(params={"sessionId": "search-1", "query": "no"})


def handle(ctx: Context, params: Params) -> Result:
    session = ctx.connection.searches.get(params.session_id) if ctx.connection else None
    if session is None:
        raise InvalidRequest(f"fuzzy file search session not found: {params.session_id}")
    session.updates += 1
    ctx.after_reply(publish_matches, ctx, session, session.updates, params.session_id, params.query)
    return Result()


def publish_matches(ctx: Context, session: SearchSession, update: int, session_id: str, query: str) -> None:
    """Search, and send the matches to the client. A search that fails has no matches."""
    assert ctx.connection is not None
    files: Sequence[FoundFile] = []
    try:
        if query:
            files = search(ctx, query, session.roots, session_token(session_id))
    except (ThreadhouseError, redis.RedisError) as error:
        logger.info("file search failed", extra={"reason": str(error)})
    if session.updates != update or ctx.connection.searches.get(session_id) is not session:
        return
    frames = [
        notification("fuzzyFileSearch/sessionUpdated", {"sessionId": session_id, "query": query, "files": files}),
        notification("fuzzyFileSearch/sessionCompleted", {"sessionId": session_id}),
    ]
    try:
        ctx.connection.send(frame for frame in frames if frame.method not in ctx.connection.opted_out)
    except Closed:
        pass


def session_token(session_id: str) -> str:
    """Return the token with which a session's newest search ends the search before it."""
    return f"session {session_id}"
