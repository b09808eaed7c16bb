"""Search the messages of the caller's threads, until the client has enough: thread/search and thread/search/stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from api.requests.context import Context
from api.requests.pages import page_size
from api.requests.params import MethodParams
from api.requests.schemas import variant
from shared.errors import InvalidParams, InvalidRequest
from shared.protocol.thread import INTERACTIVE_SOURCES, SOURCES, ThreadObject
from shared.store.searches import Hit
from shared.store.threads import SORT_COLUMNS, Filter, format_cursor, parse_cursor
from shared.views.thread import thread_object

PAGE = 25
MAX_TERM_BYTES = 65_536
FIRST_BATCH, MOST_IN_BATCH = 20, 320  # threads that one step searches: the first answers come early
SEARCH_SECONDS = 20.0  # after which a search answers with what it has found, and with a cursor to go on


class FoundThread(TypedDict):
    """A thread that has a message with the term. snippet: a part of the first such message, in one line"""

    thread: ThreadObject
    snippet: str


@dataclass(frozen=True, kw_only=True)
class SearchParams(MethodParams):
    """What to search for, and in which threads. The search ignores case and runs of white space.

    search_term: a part of a message of the user or of the agent; names are searched by thread/list
    cursor: a cursor of another page
    limit:  1 to 100; by default 25
    source_kinds: by default "cli" and "vscode"; threads that this server creates are "vscode"
    archived: whether to search archived threads instead of the others
    current_account_only, include_attached_threads: without effect, as in thread/list
    Errors: InvalidParams (also for a member that is not known); InvalidRequest (an empty term, the cursor, or the
            search was cancelled)
    Source: the original's schema
    """

    refuses_unknown = True

    search_term: str
    cursor: str | None = None
    limit: int | None = None
    sort_key: Annotated[str, variant(*SORT_COLUMNS)] = "created_at"
    sort_direction: Literal["asc", "desc"] = "desc"
    source_kinds: Sequence[Annotated[str, variant(*SOURCES)]] = ()
    archived: bool = False
    current_account_only: bool = False
    include_attached_threads: bool = False


@dataclass(frozen=True)
class SearchResult:
    """Threads with the term, in the order of the list.

    next_cursor: continues the search; null at its end. A search that takes long answers with fewer threads and a cursor
    backwards_cursor: with the other sortDirection, continues before the first entry of this page
    """

    data: Sequence[FoundThread]
    next_cursor: str | None
    backwards_cursor: str | None


class _Search:
    """A search that its connection can cancel."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self) -> None:
        """Errors: InvalidRequest: the search was cancelled."""
        if self._cancelled.is_set():
            raise InvalidRequest("thread search cancelled")


def search_name(method: str, request_id: int | str) -> str:
    """Return the name under which the connection finds a search."""
    return f"{method} {request_id!r}"


def checked_term(name: str, term: str) -> str:
    """Return the term of a search, without outer blanks. Errors: InvalidRequest (empty), InvalidParams (too long)"""
    term = term.strip()
    if not term:
        raise InvalidRequest(f"{name} requires a non-empty searchTerm")
    if len(term.encode()) > MAX_TERM_BYTES:
        raise InvalidParams(f"{name} searchTerm exceeds {MAX_TERM_BYTES} UTF-8 bytes")
    return term


def search(
    ctx: Context, name: str, params: SearchParams, on_found: Callable[[Sequence[Hit]], None] | None = None
) -> SearchResult:
    """Return a page of a search. on_found: gets the threads that each step finds while the search goes on."""
    term = checked_term(name, params.search_term)
    running = _Search()
    if ctx.connection is None or ctx.request_id is None:
        return _page(ctx, params, term, running, on_found)
    active = search_name(name, ctx.request_id)
    ctx.connection.calls.add(active, running)
    try:
        ctx.only_waits.set()
        return _page(ctx, params, term, running, on_found)
    finally:
        ctx.connection.calls.remove(active, running)


def _page(
    ctx: Context,
    params: SearchParams,
    term: str,
    running: _Search,
    on_found: Callable[[Sequence[Hit]], None] | None,
) -> SearchResult:
    wanted = Filter(archived=params.archived, sources=params.source_kinds or INTERACTIVE_SOURCES)
    descending = params.sort_direction == "desc"
    limit, end_at = page_size(params.limit, PAGE), time.monotonic() + SEARCH_SECONDS
    after = None if params.cursor is None else parse_cursor(params.cursor)
    batch_size = FIRST_BATCH
    found: list[Hit] = []
    while True:
        running.check()
        batch = ctx.store.searches.batch(
            ctx.user_id,
            term,
            wanted,
            sort_key=params.sort_key,
            descending=descending,
            after=after,
            limit=batch_size,
        )
        batch_size = min(2 * batch_size, MOST_IN_BATCH)
        found += batch.hits
        after = batch.end
        if after is None or len(found) > limit or time.monotonic() > end_at:
            break
        if on_found is not None and batch.hits:
            on_found(batch.hits)
    running.check()
    rows = found[:limit]
    times = [int(getattr(hit.thread, f"{params.sort_key}_ms")) for hit in rows]
    if len(found) > limit:
        after = (times[-1], rows[-1].thread.id)
    return SearchResult(
        data=found_threads(rows),
        next_cursor=None if after is None else format_cursor(*after),
        backwards_cursor=format_cursor(times[0], None) if rows else None,
    )


def found_threads(hits: Sequence[Hit]) -> list[FoundThread]:
    return [{"thread": thread_object(hit.thread), "snippet": hit.snippet} for hit in hits]
