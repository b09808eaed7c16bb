"""Searches in the texts of messages: a scan of the owner's threads, a batch at a time, or of one thread.

No index has these texts. A batch takes moments, so that a search can be cancelled, can report what it has found, and
holds no connection for long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Text, func, literal, select, tuple_, type_coerce

from shared.protocol.items import message_text
from shared.store.connection import Database
from shared.store.items import SELECTED, Item, from_row
from shared.store.tables import items, threads
from shared.store.threads import SORT_COLUMNS, Filter, Thread, Threads, find_thread, narrow

ROWS_AT_ONCE = 20  # messages of a thread, which may be long
MESSAGES = ("userMessage", "agentMessage")
CONTEXT_BEFORE, CONTEXT_AFTER = 49, 96  # characters of a snippet around the hit, as in the original
Position = tuple[int, str]  # of a thread in a list: (time in ms, id)


@dataclass(frozen=True, slots=True)
class Hit:
    """A thread with a message that has the term. snippet: the hit and some text around it, in one line"""

    thread: Thread
    snippet: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch of threads has. end: where the next batch begins; None: there is none"""

    hits: Sequence[Hit]
    end: Position | None


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One place of a term in a message.

    position: of the message in its thread
    start:    index of the hit in the message's text, in one line
    snippet:  the hit and some text around it; span: the indexes of the hit in it
    """

    turn_id: str
    item_id: str
    position: int
    start: int
    snippet: str
    span: tuple[int, int]


class Searches:
    """Reads threads and items; one search is a series of batches."""

    def __init__(self, database: Database, thread_rows: Threads) -> None:
        self._database = database
        self._threads = thread_rows

    def batch(
        self,
        owner: str,
        term: str,
        wanted: Filter,
        *,
        sort_key: str,
        descending: bool,
        after: Position | None,
        limit: int,
    ) -> Batch:
        """Search that many threads beyond `after`, in the order of the list. Case is ignored."""
        column = SORT_COLUMNS[sort_key]
        query = narrow(select(threads.c.id, column), owner, wanted)
        if after is not None:
            position, beyond = tuple_(column, threads.c.id), tuple_(*map(literal, after))
            query = query.where(position < beyond if descending else position > beyond)
        order = (column.desc(), threads.c.id.desc()) if descending else (column.asc(), threads.c.id.asc())
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(*order).limit(limit)).all()
            messages = (
                select(items.c.thread_id)
                .where(items.c.thread_id.in_([row.id for row in rows]), items.c.kind.in_(MESSAGES))
                .where(func.lower(type_coerce(items.c.item, Text)).contains(_plain_part(term), autoescape=True))
            )
            candidates = set(connection.scalars(messages.distinct()))
        pattern = re.compile(re.escape(term), re.IGNORECASE)
        snippets = {row.id: found for row in rows if row.id in candidates and (found := self._snippet(row.id, pattern))}
        end = (int(rows[-1][1]), rows[-1].id) if len(rows) == limit else None
        if not snippets:
            return Batch([], end)
        listed = Filter(archived=wanted.archived, included_ids=list(snippets))
        hits = self._threads.page(
            owner, listed, sort_key=sort_key, descending=descending, after=None, limit=len(snippets)
        )
        return Batch([Hit(thread, snippets[thread.id]) for thread in hits], end)

    def _snippet(self, thread_id: str, pattern: re.Pattern[str]) -> str | None:
        """Return the snippet of a thread's first message that has the term."""
        with self._database.read() as connection:
            for _, text in _messages(connection, thread_id, 0):
                if match := pattern.search(text):
                    return _around(text, *match.span())[0]
        return None

    def occurrences(
        self, owner: str, thread_id: str, term: str, *, after: tuple[int, int] | None, limit: int
    ) -> list[Occurrence]:
        """Return the first places of a term in a thread's messages, in their order. Case is ignored.

        after: position and start of an occurrence; those behind it are returned
        """
        pattern = re.compile(re.escape(term), re.IGNORECASE)
        found: list[Occurrence] = []
        with self._database.read() as connection:
            if find_thread(connection, thread_id, owner) is None:
                return found
            for item, text in _messages(connection, thread_id, after[0] if after else 0):
                for match in pattern.finditer(text):
                    if after is None or (item.position, match.start()) > after:
                        snippet, span = _around(text, *match.span())
                        found.append(Occurrence(item.turn_id, item.id, item.position, match.start(), snippet, span))
                    if len(found) == limit:
                        return found
        return found


def _messages(connection: Connection, thread_id: str, first: int) -> Iterator[tuple[Item, str]]:
    """Yield the messages of a thread from a position on, each with its text in one line."""
    query = select(*SELECTED).where(items.c.thread_id == thread_id, items.c.kind.in_(MESSAGES))
    query = query.where(items.c.completed_at_ms.is_not(None)).order_by(items.c.position).limit(ROWS_AT_ONCE)
    while found := [from_row(row) for row in connection.execute(query.where(items.c.position >= first))]:
        for item in found:
            yield item, " ".join(message_text(item.item or {}).split())
        first = found[-1].position + 1


def _around(text: str, start: int, end: int) -> tuple[str, tuple[int, int]]:
    """Return a snippet of a text, and the indexes of the hit in it."""
    first, last = max(0, start - CONTEXT_BEFORE), end + CONTEXT_AFTER
    before = ("... " if first else "") + text[first:start].lstrip()
    after = text[end:last].rstrip() + (" ..." if last < len(text) else "")
    return before + text[start:end] + after, (len(before), len(before) + end - start)


def _plain_part(term: str) -> str:
    """Return the longest part of a term that a database finds in stored JSON, whatever its notion of case is.

    These are letters of ASCII, in lower case, and characters that have no case and that JSON does not escape.
    """
    return max(_plain_parts(term), key=len, default="")


def _plain_parts(term: str) -> Iterator[str]:
    part = ""
    for character in term:
        if character in '"\\ ' or not character.isprintable() or (not character.isascii() and _has_case(character)):
            yield part
            part = ""
        else:
            part += character.lower()
    yield part


def _has_case(character: str) -> bool:
    return character.lower() != character or character.upper() != character
