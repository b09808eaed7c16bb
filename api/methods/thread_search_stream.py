"""thread/search/stream: Search like thread/search, and send what is found on the way as thread/search/partial."""

from __future__ import annotations

from collections.abc import Sequence

from api.delivery.frames import notification
from api.methods.thread_search import FOUND
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.thread_search import SearchParams, SearchResult, found_threads, search
from shared.store.searches import Hit

NAME = "thread/search/stream"
SLOW = True
PARTIAL = "thread/search/partial"
Params = SearchParams
Result = SearchResult
EXAMPLE = Example(params={"searchTerm": "tests", "limit": 20}, result=FOUND)


def handle(ctx: Context, params: SearchParams) -> SearchResult:
    connection = ctx.connection

    def send_partial(hits: Sequence[Hit]) -> None:
        if connection is not None and ctx.request_id is not None and PARTIAL not in connection.opted_out:
            connection.send([notification(PARTIAL, {"requestId": ctx.request_id, "data": found_threads(hits)})])

    return search(ctx, NAME, params, send_partial)
