"""Histories: a whole thread with its turns and its log, read in one transaction and stored in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from shared.clock import now_ms
from shared.errors import Conflict, InvalidRequest, NotFound
from shared.ids import new_id
from shared.protocol.model_items import answered_call
from shared.protocol.token_usage import ThreadTokenUsage
from shared.store import audit, history_size
from shared.store import items as item_rows
from shared.store import threads as thread_rows
from shared.store import workspaces as workspace_rows
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.items import Item
from shared.store.tables import approvals, items, pending_inputs, terminals, threads, turns
from shared.store.threads import Thread
from shared.store.turns import Turn
from shared.store.turns import rows as turn_rows
from shared.store.turns.ending import pending_input_item

FORK_BYTES = 64 << 20  # of the items that a fork copies, which are all in memory then
PUBLISHED = 2  # published_state of copied turns and items: their events are not published again


@dataclass(frozen=True, slots=True)
class History:
    """A thread with the turns that have ended, in order, and their rows of its log, in order."""

    thread: Thread
    turns: list[Turn]
    items: list[Item]


class SessionVersion(NamedTuple):
    """What is different when a thread's session file has to be different.

    stored_bytes:   the end of a terminal changes it
    reverted_turns: ids of turns that the thread no longer has, and the file may still have; None: none
    """

    updated_at_ms: int
    archived_at_ms: int | None
    stored_bytes: int
    reverted_turns: list[str] | None


_VERSION = select(threads.c.updated_at_ms, threads.c.archived_at_ms, threads.c.stored_bytes, threads.c.reverted_turns)


class Histories:
    """Whole threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_users_find(self, thread_id: str) -> tuple[Thread, list[Turn]] | None:
        """Return a thread, whoever owns it, and its turns that have ended; None: there is no such thread.

        A thread may be larger than memory: read the items of one turn at a time, with Items.of_turn.
        """
        with self._database.read() as connection:
            owner = connection.scalar(select(threads.c.owner).where(threads.c.id == thread_id))
            thread = owner and thread_rows.find_thread(connection, thread_id, owner)
            if not thread:
                return None
            return thread, turn_rows.read(connection, turns.c.thread_id == thread_id, turns.c.phase == "done")

    def all_users_version(self, thread_id: str) -> SessionVersion | None:
        """Return which state of a thread is stored, for its session file; None: there is no such thread."""
        with self._database.read() as connection:
            return _version(connection.execute(_VERSION.where(threads.c.id == thread_id)).first())

    @contextmanager
    def all_users_lock(
        self, thread_id: str, version: SessionVersion, *, again_ms: int, is_written: bool = True
    ) -> Iterator[SessionVersion | None]:
        """Lock the thread's row. Yields its state now; None: the thread is gone.

        Afterwards its session file is current if the state is still `version`, and due again in again_ms otherwise.

        is_written: whether the file has that state then; False: it is left as it is
        """
        with self._database.write() as connection:
            now = _version(connection.execute(_VERSION.where(threads.c.id == thread_id).with_for_update()).first())
            yield now
            values: dict[str, Any] = {"session_due_at_ms": None if now == version else now_ms() + again_ms}
            if now == version and is_written:
                values["reverted_turns"] = None
            connection.execute(update(threads).where(threads.c.id == thread_id).values(values))

    def create(
        self, history: History, source: Mapping[str, object] | None = None, *, audit_entry: AuditEntry | None = None
    ) -> None:
        """Store a thread that was copied or imported. source: what its workspace is to be made from.

        Errors: Conflict (one of its ids exists already; see with_fresh_ids)
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
                audit.write(connection, audit_entry, thread_id=history.thread.id, subject_id=subject_id)
        except IntegrityError as error:
            raise Conflict(f"the thread {history.thread.id}, or one with a turn of it, exists already") from error

    def fork(self, thread_id: str, owner: str, *, last_turn_id: str | None, before_turn_id: str | None) -> History:
        """Return a copy of a thread under fresh ids, with its turns up to one of them, or before one.

        A turn that is active is copied as interrupted, with the items that are complete. Nothing is stored: `create`
        does that. Errors: NotFound, InvalidRequest (no such turn, the last one is active, or they are too large)
        """
        thread_rows.check_id(thread_id)
        with self._database.read() as connection:
            thread = thread_rows.find_thread(connection, thread_id, owner)
            if thread is None:
                raise NotFound(f"no rollout found for thread id {thread_id}")
            found = turn_rows.read(connection, turns.c.thread_id == thread_id)
            kept = _cut(found, last_turn_id or before_turn_id, inclusive=last_turn_id is not None)
            rows = _read_up_to(connection, kept[-1]) if kept else []
            if kept and not kept[-1].done:
                if last_turn_id is not None:
                    raise InvalidRequest(f"lastTurnId '{last_turn_id}' identifies an in-progress turn")
                rows = _without_open_calls(rows + _unread_input(connection, kept[-1], rows))
                kept[-1] = replace(kept[-1], phase="done", status="interrupted")
        fork = replace(
            thread,
            forked_from_id=thread_id,
            session_id=thread_id,
            claim_no=0,
            active_turn=None,
            token_usage=_usage_after(kept, thread),
        )
        turns_copied = [replace(turn, published_state=PUBLISHED) for turn in kept]
        return with_fresh_ids(History(fork, turns_copied, [replace(row, published_state=PUBLISHED) for row in rows]))

    def find_turn_with_usage(self, thread_id: str, owner: str) -> str | None:
        """Return the id of the thread's last turn that had an answer with a token usage; None: none is known."""
        query = select(turns.c.id).where(turns.c.thread_id == thread_id, turns.c.owner == owner)
        query = query.where(turns.c.token_usage.is_not(None)).order_by(turns.c.id.desc()).limit(1)
        with self._database.read() as connection:
            found: str | None = connection.scalar(query)
            return found

    def revert(
        self,
        thread_id: str,
        owner: str,
        before_turn_id: str,
        *,
        has_session_file: bool = False,
        audit_entry: AuditEntry | None = None,
    ) -> None:
        """Delete a turn and all later ones.

        has_session_file: whether the server writes session files: until the thread's is written again, it has the turns
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
            for table in (pending_inputs, items, approvals, terminals):
                connection.execute(delete(table).where(table.c.turn_id.in_(dropped)))
            connection.execute(delete(turns).where(turns.c.thread_id == thread_id, turns.c.id >= before_turn_id))
            left = turn_rows.read(connection, turns.c.thread_id == thread_id)
            values: dict[str, Any] = {"updated_at_ms": now_ms(), "used_at_ms": now_ms(), **thread_rows.session_due()}
            if has_session_file:  # without a file, nothing would ever end the list
                reverted = connection.scalar(select(threads.c.reverted_turns).where(threads.c.id == thread_id)) or []
                values["reverted_turns"] = [*reverted, *(turn_id for turn_id in ids if turn_id >= before_turn_id)]
            values["token_usage"] = _usage_after(left, thread)
            if before_turn_id == ids[0]:
                values["preview"] = ""
            connection.execute(update(threads).where(threads.c.id == thread_id).values(values))
            thread_rows.count_bytes(connection, thread_id)
            audit.write(connection, audit_entry, thread_id=thread_id, subject_id=before_turn_id)

    def inject(self, thread_id: str, owner: str, model_items: list[dict[str, Any]], *, history_limit: int) -> None:
        """Add items to the end of the history for the model.

        history_limit: bytes that the history may have then; 0: no limit
        Errors:        NotFound, Conflict (a turn is active), InvalidRequest (the thread has no turn yet),
                       HistoryTooLarge
        """
        with self._database.write() as connection:
            thread = thread_rows.lock_thread(connection, thread_id, owner)
            if thread.active_turn is not None:
                raise Conflict(f"turn {thread.active_turn} is active; items can be injected when it has ended")
            last = connection.scalar(select(func.max(turns.c.id)).where(turns.c.thread_id == thread_id))
            if last is None:
                raise InvalidRequest(f"thread {thread_id} is not materialized yet; it has no user message")
            _, size = history_size.read(connection, thread_id)
            history_size.check(size + len(orjson.dumps(model_items)), history_limit)
            position = item_rows.last_position(connection, thread_id) + 1
            row = Item(new_id(), thread_id, last, position, "injected", model_items=model_items)
            item_rows.append(connection, [row])
            thread_rows.count_bytes(connection, thread_id)


def _version(row: Row[int, int | None, int, list[str] | None] | None) -> SessionVersion | None:
    return None if row is None else SessionVersion(*row)


def _cut(found: list[Turn], turn_id: str | None, *, inclusive: bool) -> list[Turn]:
    """Return the turns up to turn_id, with or without that turn; all of them when turn_id is None."""
    if turn_id is None:
        return found
    index = next((index for index, turn in enumerate(found) if turn.id == turn_id), None)
    if index is None:
        raise _no_such_turn(turn_id)
    return found[: index + inclusive]


def _read_up_to(connection: Connection, last: Turn) -> list[Item]:
    """Return the rows of a turn and of those before it. Errors: InvalidRequest (too large)."""
    chosen = (items.c.thread_id == last.thread_id, items.c.turn_id <= last.id)
    if (size := int(connection.scalar(select(item_rows.SIZE).where(*chosen)) or 0)) > FORK_BYTES:
        raise InvalidRequest(
            f"the turns to copy have {size} bytes, more than the {FORK_BYTES} that a fork copies; name an earlier turn "
            "as lastTurnId, or start a new thread"
        )
    return item_rows.read(connection, *chosen)


def _usage_after(kept: Sequence[Turn], thread: Thread) -> ThreadTokenUsage | None:
    """Return the usage of a thread that has only these of its turns."""
    if not kept:
        return None
    known = [turn.token_usage for turn in kept if turn.token_usage]
    return known[-1] if known else thread.token_usage


def _unread_input(connection: Connection, turn: Turn, rows: Sequence[Item]) -> list[Item]:
    """Return the rows that the input of a turn becomes which no worker has read yet; [] for one that has begun."""
    if any(row.turn_id == turn.id for row in rows):
        return []
    first = max((row.position for row in rows), default=0) + 1
    pending = turn_rows.read_pending_inputs(connection, turn.id)
    return [pending_input_item(turn, now_ms(), position, one) for position, one in enumerate(pending, first)]


def _without_open_calls(rows: Sequence[Item]) -> list[Item]:
    """Return rows whose open calls have the output that the original makes up, and which clients do not see."""
    return [
        row
        if row.answered
        else replace(row, kind="call", item=None, answered=True, model_items=answered_call(row.open_call, "aborted"))
        for row in rows
    ]


def _no_such_turn(turn_id: str) -> InvalidRequest:
    return InvalidRequest(f"turn not found: {turn_id[:80]}")


def with_fresh_ids(history: History) -> History:
    """Return the history under new ids. The turns' ids keep their order, because lists are sorted by them."""
    thread, thread_id = history.thread, new_id()
    session_id = thread_id if thread.session_id == thread.id else thread.session_id
    fresh = dict(zip((turn.id for turn in history.turns), sorted(new_id() for _ in history.turns), strict=True))
    return History(
        replace(thread, id=thread_id, session_id=session_id),
        [replace(turn, id=fresh[turn.id], thread_id=thread_id) for turn in history.turns],
        [replace(row, id=new_id(), thread_id=thread_id, turn_id=fresh[row.turn_id]) for row in history.items],
    )
