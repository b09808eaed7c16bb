"""thread/search: Search the messages of the caller's threads, a page at a time."""

from __future__ import annotations

from api.requests.context import Context
from api.requests.examples import BEGIN_MS, THREAD, Example
from api.requests.thread_search import SearchParams, SearchResult, search

NAME = "thread/search"
SLOW = True
Params = SearchParams
Result = SearchResult
FOUND = {
    "data": [{"thread": THREAD, "snippet": "why do the tests fail?"}],
    "nextCursor": None,
    "backwardsCursor": str(BEGIN_MS),
}
EXAMPLE = Example(params={"searchTerm": "tests", "limit": 20}, result=FOUND)


def handle(ctx: Context, params: SearchParams) -> SearchResult:
    return search(ctx, NAME, params)
