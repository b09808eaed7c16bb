"""A whole thread, its turns and its log: read in one transaction, and stored in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from shared.errors import Conflict
from shared.ids import new_id
from shared.store import items as item_rows
from shared.store import threads as thread_rows
from shared.store import turns as turn_rows
from shared.store.connection import Database
from shared.store.items import Item
from shared.store.tables import items, threads, turns
from shared.store.threads import Thread
from shared.store.turns import Turn


@dataclass(frozen=True, slots=True)
class History:
    """A thread with the turns that have ended, in order, and their rows of its log, in order."""

    thread: Thread
    turns: list[Turn]
    items: list[Item]


class Histories:
    """Threads with all that was said in them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_users_find(self, thread_id: str) -> History | None:
        """Whoever owns it."""
        with self._database.read() as connection:
            owner = connection.scalar(select(threads.c.owner).where(threads.c.id == thread_id))
            thread = owner and thread_rows.find_thread(connection, thread_id, owner)
            if not thread:
                return None
            ended = turn_rows.read(connection, turns.c.thread_id == thread_id, turns.c.phase == "done")
            ids = {turn.id for turn in ended}
            rows = item_rows.read(connection, items.c.thread_id == thread_id)
        return History(thread, ended, [row for row in rows if row.turn_id in ids])

    @contextmanager
    def all_users_hold(self, history: History) -> Iterator[bool]:
        """Keep the thread from changing meanwhile; whether it still is as it was read."""
        query = select(threads.c.updated_at_ms, threads.c.archived_at_ms).where(threads.c.id == history.thread.id)
        with self._database.write() as connection:
            now = connection.execute(query.with_for_update()).first()
            read = (history.thread.updated_at_ms, history.thread.archived_at_ms)
            yield now is not None and tuple(now) == read

    def add(self, history: History) -> None:
        """Store a thread that came from elsewhere. Errors: Conflict (an id of it is taken; see with_fresh_ids)."""
        try:
            with self._database.write() as connection:
                connection.execute(insert(threads).values(thread_rows.columns(history.thread)))
                if history.turns:
                    connection.execute(insert(turns), [turn_rows.columns(turn) for turn in history.turns])
                if history.items:
                    item_rows.append(connection, history.items)
        except IntegrityError as error:
            raise Conflict(f"the thread {history.thread.id}, or one with a turn of it, is here already") from error


def with_fresh_ids(history: History) -> History:
    """The same under ids that nobody has; turns stay in order, for lists go by their ids."""
    thread, thread_id = history.thread, new_id()
    session_id = thread_id if thread.session_id == thread.id else thread.session_id
    fresh = dict(zip((turn.id for turn in history.turns), sorted(new_id() for _ in history.turns), strict=True))
    return History(
        replace(thread, id=thread_id, session_id=session_id),
        [replace(turn, id=fresh[turn.id], thread_id=thread_id) for turn in history.turns],
        [replace(row, id=new_id(), thread_id=thread_id, turn_id=fresh[row.turn_id]) for row in history.items],
    )
