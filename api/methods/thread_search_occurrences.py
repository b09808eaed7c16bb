"""thread/searchOccurrences: Find every place of a text in the messages of a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests.context import Context
from api.requests.examples import MESSAGE, ON_THREAD, TURN_ID, Example
from api.requests.pages import invalid_cursor, page_cursor, page_size
from api.requests.params import ThreadParams
from api.requests.thread_search import checked_term
from shared.store.searches import Occurrence

NAME = "thread/searchOccurrences"
SLOW = True
PAGE = 50


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """What to search for. The search ignores case and runs of white space.

    search_term: a part of a message of the user or of the agent
    cursor: a cursor of another page
    limit:  1 to 100; by default 50
    Errors: NotFound; InvalidRequest (an empty term, the cursor); InvalidParams (the term is too long)
    Source: BEHAVIOUR-171 6, the original's schema
    """

    search_term: str
    cursor: str | None = None
    limit: int | None = None


class TextRange(TypedDict):
    """A part of the snippet: from start up to, and without, end; both in UTF-16 code units."""

    start: int
    end: int


class FoundPlace(TypedDict):
    """One place. turnCursor: the page of thread/turns/list that begins with the turn"""

    turnId: str
    itemId: str
    snippet: str
    snippetMatchRange: TextRange
    turnCursor: str


@dataclass(frozen=True)
class Result:
    """The places in the order of the messages. next_cursor: continues the search; null at its end"""

    data: Sequence[FoundPlace]
    next_cursor: str | None


EXAMPLE = Example(
    params={**ON_THREAD, "searchTerm": "tests"},
    result={
        "data": [
            {
                "turnId": TURN_ID,
                "itemId": MESSAGE.id,
                "snippet": "why do the tests fail?",
                "snippetMatchRange": {"start": 11, "end": 16},
                "turnCursor": f"={TURN_ID}",
            }
        ],
        "nextCursor": None,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    term, size = checked_term(NAME, params.search_term), page_size(params.limit, PAGE)
    after = None if params.cursor is None else _parse_cursor(params.cursor)
    found = ctx.store.searches.occurrences(ctx.user_id, thread.id, term, after=after, limit=size + 1)
    last = found[size - 1] if len(found) > size else None
    return Result(
        data=[_place(one) for one in found[:size]], next_cursor=f"{last.position}:{last.start}" if last else None
    )


def _place(found: Occurrence) -> FoundPlace:
    turn_cursor = page_cursor(found.turn_id, inclusive=True)
    assert turn_cursor is not None
    start, end = (len(found.snippet[:index].encode("utf-16-le")) // 2 for index in found.span)
    return {
        "turnId": found.turn_id,
        "itemId": found.item_id,
        "snippet": found.snippet,
        "snippetMatchRange": {"start": start, "end": end},
        "turnCursor": turn_cursor,
    }


def _parse_cursor(cursor: str) -> tuple[int, int]:
    position, _, start = cursor.partition(":")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (position, start)):
        raise invalid_cursor(cursor)
    return int(position), int(start)
