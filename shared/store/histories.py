"""A whole thread, its turns and its log: read in one transaction, and stored in one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from shared.clock import now_ms
from shared.errors import Conflict, InvalidRequest, NotFound
from shared.ids import new_id
from shared.store import audit
from shared.store import items as item_rows
from shared.store import threads as thread_rows
from shared.store import turns as turn_rows
from shared.store import workspaces as workspace_rows
from shared.store.audit import Act
from shared.store.connection import Database
from shared.store.items import Item
from shared.store.tables import approvals, items, mail, threads, turns
from shared.store.threads import Thread
from shared.store.turns import Turn

ANNOUNCED = 2  # of a copy: nobody is to hear of it again


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
        """Keep the thread from changing meanwhile; whether it still is as it was read, and its file then up to date."""
        query = select(threads.c.updated_at_ms, threads.c.archived_at_ms).where(threads.c.id == history.thread.id)
        with self._database.write() as connection:
            now = connection.execute(query.with_for_update()).first()
            read = (history.thread.updated_at_ms, history.thread.archived_at_ms)
            unchanged = now is not None and tuple(now) == read
            yield unchanged
            if unchanged:
                written = update(threads).where(threads.c.id == history.thread.id)
                connection.execute(written.values(session_due_at_ms=None))

    def add(self, history: History, source: dict[str, Any] | None = None, *, act: Act | None = None) -> None:
        """Store a thread that came from elsewhere. source: what its workspace is to be made from.

        Errors: Conflict (an id of it is taken; see with_fresh_ids)
        """
        try:
            with self._database.write() as connection:
                connection.execute(insert(threads).values(thread_rows.columns(history.thread)))
                if source is not None:
                    workspace_rows.add(connection, history.thread.id, history.thread.owner, source)
                if history.turns:
                    connection.execute(insert(turns), [turn_rows.columns(turn) for turn in history.turns])
                if history.items:
                    item_rows.append(connection, history.items)
                thread_rows.count_bytes(connection, history.thread.id)
                subject_id = history.thread.forked_from_id
                audit.write(connection, act, thread_id=history.thread.id, subject_id=subject_id)
        except IntegrityError as error:
            raise Conflict(f"the thread {history.thread.id}, or one with a turn of it, is here already") from error

    def fork(self, thread_id: str, owner: str, *, last_turn_id: str | None, before_turn_id: str | None) -> History:
        """The turns of a thread that have ended, up to one of them or before one, as a thread under fresh ids.

        Nothing is stored yet: `add` does. Errors: NotFound, InvalidRequest (no such turn)
        """
        thread_rows.check_id(thread_id)
        with self._database.read() as connection:
            thread = thread_rows.find_thread(connection, thread_id, owner)
            if thread is None:
                raise NotFound(f"no rollout found for thread id {thread_id}")
            ended = turn_rows.read(connection, turns.c.thread_id == thread_id, turns.c.phase == "done")
            kept = _cut(ended, last_turn_id or before_turn_id, inclusive=last_turn_id is not None)
            of_kept = {turn.id for turn in kept}
            rows = item_rows.read(connection, items.c.thread_id == thread_id)
        told = [replace(turn, announced=ANNOUNCED) for turn in kept]
        copied = [replace(row, announced=ANNOUNCED) for row in rows if row.turn_id in of_kept]
        begun = replace(thread, forked_from_id=thread_id, session_id=thread_id, claim_no=0, active_turn=None)
        return with_fresh_ids(History(begun, told, copied))

    def revert(self, thread_id: str, owner: str, before_turn_id: str, *, act: Act | None = None) -> None:
        """Drop a turn and all later ones, for good.

        Errors: NotFound, InvalidRequest (no such turn), Conflict (a turn is active)
        """
        with self._database.write() as connection:
            of_thread = select(turns.c.id).where(turns.c.thread_id == thread_id, turns.c.owner == owner)
            ids = connection.scalars(of_thread.order_by(turns.c.id).with_for_update()).all()
            thread = thread_rows.lock_thread(connection, thread_id, owner)
            if thread.active_turn is not None:
                raise Conflict(f"turn {thread.active_turn} is active; wait for its end or interrupt it")
            if before_turn_id not in ids:
                raise _no_such_turn(before_turn_id)
            dropped = of_thread.where(turns.c.id >= before_turn_id)
            for table in (mail, items, approvals):
                connection.execute(delete(table).where(table.c.turn_id.in_(dropped)))
            connection.execute(delete(turns).where(turns.c.thread_id == thread_id, turns.c.id >= before_turn_id))
            values: dict[str, Any] = {"updated_at_ms": now_ms(), "used_at_ms": now_ms()}
            if before_turn_id == ids[0]:
                values["preview"] = ""
            connection.execute(update(threads).where(threads.c.id == thread_id).values(values))
            thread_rows.count_bytes(connection, thread_id)
            audit.write(connection, act, thread_id=thread_id, subject_id=before_turn_id)

    def inject(self, thread_id: str, owner: str, model_items: list[dict[str, Any]]) -> None:
        """Put items at the end of what the model sees.

        Errors: NotFound, Conflict (a turn is active), InvalidRequest (there was no turn yet)
        """
        with self._database.write() as connection:
            thread = thread_rows.lock_thread(connection, thread_id, owner)
            if thread.active_turn is not None:
                raise Conflict(f"turn {thread.active_turn} is active; items can be injected when it has ended")
            last = connection.scalar(select(func.max(turns.c.id)).where(turns.c.thread_id == thread_id))
            if last is None:
                raise InvalidRequest(f"thread {thread_id} is not materialized yet; it has no user message")
            position = item_rows.last_position(connection, thread_id) + 1
            row = Item(new_id(), thread_id, last, position, "injected", model_items=model_items)
            item_rows.append(connection, [row])
            thread_rows.count_bytes(connection, thread_id)


def _cut(found: list[Turn], turn_id: str | None, *, inclusive: bool) -> list[Turn]:
    """Turns up to one of them, or before it; all without one."""
    if turn_id is None:
        return found
    place = next((place for place, turn in enumerate(found) if turn.id == turn_id), None)
    if place is None:
        raise _no_such_turn(turn_id)
    return found[: place + inclusive]


def _no_such_turn(turn_id: str) -> InvalidRequest:
    return InvalidRequest(f"turn not found: {turn_id[:80]}")


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
