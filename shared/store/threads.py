"""Threads: their owners, settings and status, and lists that never read a history."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    exists,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.errors import Conflict, InvalidRequest, NotFound
from shared.ids import is_id
from shared.protocol.settings import SettingsChanges, ThreadSettings
from shared.protocol.thread import GitInfo, StoredGoal, ThreadStatus
from shared.protocol.token_usage import ThreadTokenUsage
from shared.store import audit, erasures
from shared.store import items as item_rows
from shared.store import workspaces as workspace_rows
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.own_workspace import with_own_workspace, works_in
from shared.store.tables import approvals, items, threads, turns

SORT_COLUMNS = {
    "created_at": threads.c.created_at_ms,
    "updated_at": threads.c.updated_at_ms,
    "recency_at": threads.c.recency_at_ms,
}
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"  # sorts after every id
SESSION_DELAY_MS = 2000  # the session file is written once after changes in quick succession
SESSION_AGAIN_MS = 60_000  # after which a session file is due again, should its writer be lost
SWEPT_AT_ONCE = 100  # threads that one transaction deletes
LOADED_FOR_MS = 30 * 60 * 1000  # a thread is "loaded" while it is active and for this long after its last use
TITLE_SOURCE = "thread_title"  # thread_source of the threads in which the terminal client generates titles
# Flags of a thread with a pending server request, by method; a call of a client's own tool waits for no person.
FLAGS: dict[str, tuple[str, ...]] = {"item/tool/requestUserInput": ("waitingOnUserInput",), "item/tool/call": ()}
WAITING_ON_APPROVAL = ("waitingOnApproval",)


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread.

    token_usage: tokenUsage of PROTOCOL section 6, or None
    active_turn: id of the turn that is not done, or None
    waiting_on:  flags of an active thread (PROTOCOL 3.1)
    failed:      whether the last turn failed
    """

    id: str
    owner: str
    session_id: str
    settings: ThreadSettings
    source: str
    created_at_ms: int
    updated_at_ms: int
    recency_at_ms: int
    used_at_ms: int
    name: str | None = None
    preview: str = ""
    forked_from_id: str | None = None
    thread_source: str | None = None
    originator: str | None = None
    git_info: GitInfo | None = None
    ephemeral: bool = False
    materialized: bool = False
    archived_at_ms: int | None = None
    token_usage: ThreadTokenUsage | None = None
    claim_no: int = 0
    goal: StoredGoal | None = None
    history_mode: str | None = None
    active_turn: str | None = None
    waiting_on: tuple[str, ...] = ()
    failed: bool = False

    @property
    def loaded(self) -> bool:
        return self.active_turn is not None or self.used_at_ms > now_ms() - LOADED_FOR_MS

    def status(self) -> ThreadStatus:
        """Return the status (PROTOCOL 3.1); it is derived from the turns and never stored."""
        if self.active_turn:
            return {"type": "active", "activeFlags": list(self.waiting_on)}
        if not self.loaded:
            return {"type": "notLoaded"}
        return {"type": "systemError" if self.failed else "idle"}


@dataclass(frozen=True, slots=True)
class Filter:
    """The conditions of thread/list (PROTOCOL 5.5). None: no condition."""

    archived: bool = False
    sources: Sequence[str] | None = None
    model_providers: Sequence[str] | None = None
    cwds: Sequence[str] | None = None
    originators: Sequence[str] | None = None
    search_term: str | None = None
    included_ids: Sequence[str] | None = None
    excluded_ids: Sequence[str] = field(default_factory=tuple)


class Threads:
    """The threads table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, thread: Thread, source: Mapping[str, object] | None = None, *, audit_entry: AuditEntry | None = None
    ) -> None:
        """Store a new thread. source: what its workspace is to be made from (shared.config.workspaces)."""
        with self._database.write() as connection:
            connection.execute(insert(threads).values(columns(thread)))
            if source is not None:
                workspace_rows.add(connection, thread.id, thread.owner, source)
            audit.write(connection, audit_entry, thread_id=thread.id)

    def get(self, thread_id: str, owner: str) -> Thread:
        """Return the owner's thread. Errors: NotFound, also for another user's thread."""
        thread = self.find(thread_id, owner)
        if thread is None:
            raise NotFound(f"thread not found: {thread_id}")
        return thread

    def find(self, thread_id: str, owner: str) -> Thread | None:
        """Return the owner's thread, or None. Errors: InvalidRequest (thread_id is not an id)."""
        check_id(thread_id)
        with self._database.read() as connection:
            return find_thread(connection, thread_id, owner)

    def has(self, owner: str, count: int) -> bool:
        """Return whether the owner has at least that many threads, archived and empty ones included."""
        query = select(threads.c.id).where(threads.c.owner == owner).offset(count - 1).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def stored_bytes(self, owner: str) -> int:
        """Return the size of the logs of all the owner's threads in bytes, without turns that are not done."""
        query = select(func.coalesce(func.sum(threads.c.stored_bytes), 0)).where(threads.c.owner == owner)
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)

    def change_settings(self, thread_id: str, owner: str, changes: SettingsChanges) -> Thread:
        """Merge changes into the settings; the thread counts as used. Errors: NotFound."""
        with self._database.write() as connection:
            thread = lock_thread(connection, thread_id, owner)
            settings: ThreadSettings = {**thread.settings, **changes}
            save_settings(connection, thread_id, settings)
        return replace(thread, settings=settings, used_at_ms=now_ms())

    def set_name(self, thread_id: str, owner: str, name: str) -> None:
        """Set the name of a thread. Errors: NotFound."""
        self._change(thread_id, owner, name=name, updated_at_ms=now_ms(), **session_due())

    def change_git_info(self, thread_id: str, owner: str, edit: Callable[[GitInfo | None], GitInfo | None]) -> None:
        """Replace what is known of the thread's repository with edit(what was). Errors: NotFound."""
        with self._database.write() as connection:
            thread = lock_thread(connection, thread_id, owner)
            self._update(connection, thread_id, git_info=edit(thread.git_info))

    def change_goal(self, thread_id: str, owner: str, edit: Callable[[Thread], StoredGoal | None]) -> None:
        """Replace the goal of a thread with edit(thread); None removes it. Errors: NotFound; those of edit."""
        with self._database.write() as connection:
            thread = lock_thread(connection, thread_id, owner)
            self._update(connection, thread_id, goal=edit(thread))

    def archive(self, thread_id: str, owner: str, *, audit_entry: AuditEntry | None = None) -> None:
        """Archive a thread. Errors: NotFound, Conflict (a turn is active)."""
        active = select(turns.c.id).where(turns.c.thread_id == thread_id, turns.c.phase != "done")
        with self._database.write() as connection:
            lock_thread(connection, thread_id, owner)  # no turn can begin meanwhile
            turn_id = connection.scalar(active)
            if turn_id is not None:
                raise Conflict(f"turn {turn_id} has not ended yet; send the request again when it has")
            values = {"archived_at_ms": now_ms(), "updated_at_ms": now_ms(), "used_at_ms": 0, **session_due()}
            connection.execute(update(threads).where(threads.c.id == thread_id).values(values))
            audit.write(connection, audit_entry, thread_id=thread_id)

    def unarchive(self, thread_id: str, owner: str, *, audit_entry: AuditEntry | None = None) -> Thread:
        """Unarchive a thread. Errors: NotFound, Conflict (it is not archived)."""
        with self._database.write() as connection:
            thread = lock_thread(connection, thread_id, owner)
            if thread.archived_at_ms is None:
                raise Conflict(f"no archived rollout found for thread id {thread_id}")
            values = {"archived_at_ms": None, "updated_at_ms": now_ms(), **session_due()}
            connection.execute(update(threads).where(threads.c.id == thread_id).values(values))
            audit.write(connection, audit_entry, thread_id=thread_id)
        return replace(thread, archived_at_ms=None, updated_at_ms=now_ms())

    def delete(self, thread_id: str, owner: str, *, audit_entry: AuditEntry | None = None) -> None:
        """Delete a thread and all its rows. Errors: NotFound."""
        with self._database.write() as connection:
            of_thread = select(turns.c.id).where(turns.c.thread_id == thread_id, turns.c.owner == owner)
            connection.execute(of_thread.order_by(turns.c.id).with_for_update())
            lock_thread(connection, thread_id, owner)
            erasures.erase_thread(connection, thread_id, owner, erasures.DELETED)
            audit.write(connection, audit_entry, thread_id=thread_id)

    def _change(self, thread_id: str, owner: str, audit_entry: AuditEntry | None = None, **values: Any) -> None:
        with self._database.write() as connection:
            lock_thread(connection, thread_id, owner)
            self._update(connection, thread_id, **values)
            audit.write(connection, audit_entry, thread_id=thread_id)

    @staticmethod
    def _update(connection: Connection, thread_id: str, **values: Any) -> None:
        connection.execute(update(threads).where(threads.c.id == thread_id).values(values))

    def page(
        self, owner: str, wanted: Filter, *, sort_key: str, descending: bool, after: tuple[int, str] | None, limit: int
    ) -> list[Thread]:
        """Return a page by keyset: rows beyond `after` = (time in ms, id), at most limit. No ephemeral ones."""
        column = SORT_COLUMNS[sort_key]
        query = narrow(select(threads), owner, wanted)
        if wanted.search_term:
            query = query.where(
                or_(*(self._contains(searched, wanted.search_term) for searched in (threads.c.name, threads.c.preview)))
            )
        if after is not None:
            position, beyond = tuple_(column, threads.c.id), tuple_(*map(literal, after))
            query = query.where(position < beyond if descending else position > beyond)
        order = (column.desc(), threads.c.id.desc()) if descending else (column.asc(), threads.c.id.asc())
        with self._database.read(in_transaction=True) as connection:
            if wanted.cwds is not None:
                query = query.where(works_in(connection, owner, wanted.cwds))
            if not self._database.is_sqlite:
                # A generic plan serves all search terms alike and uses the wrong index for many of them.
                connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
            rows = connection.execute(query.order_by(*order).limit(limit)).all()
            return _with_status(connection, rows)

    def folders(self, owner: str) -> list[str]:
        """Return the folders that threads of an owner work in, as they are stored."""
        with self._database.read() as connection:
            return list(connection.scalars(select(threads.c.cwd).where(threads.c.owner == owner).distinct()))

    def _contains(self, column: Any, term: str) -> Any:
        """Return the condition that a column contains a term, case-sensitively; LIKE on SQLite would ignore case."""
        if self._database.is_sqlite:
            return func.instr(column, term) > 0
        return column.contains(term, autoescape=True)

    def list_loaded(self, owner: str, after_id: str | None, limit: int) -> list[str]:
        """Return ids of loaded threads, in the order of their ids."""
        query = select(threads.c.id).where(threads.c.owner == owner, threads.c.archived_at_ms.is_(None))
        active = exists().where(turns.c.thread_id == threads.c.id, turns.c.phase != "done")
        query = query.where(or_(threads.c.used_at_ms > now_ms() - LOADED_FOR_MS, active))
        if after_id:
            query = query.where(threads.c.id > after_id)
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(threads.c.id).limit(limit)))

    def all_users_settings(self, thread_id: str) -> ThreadSettings | None:
        """Return the settings of a thread, whoever owns it; None: there is no such thread."""
        with self._database.read() as connection:
            found: ThreadSettings | None = connection.scalar(
                select(threads.c.settings).where(threads.c.id == thread_id)
            )
        return found

    def all_users_due_sessions(self) -> list[str]:
        """Return ids of threads whose session files are due. They are due again later, unless written."""
        due = select(threads.c.id).where(threads.c.session_due_at_ms <= now_ms(), ~threads.c.ephemeral).limit(200)
        # Locked threads wait: a claim locks several, in another order, and the two could wait for each other.
        free = due.with_for_update(skip_locked=True)
        later = update(threads).where(threads.c.id.in_(free)).values(session_due_at_ms=now_ms() + SESSION_AGAIN_MS)
        with self._database.read() as connection:
            if connection.scalar(due) is None:
                return []
        with self._database.write() as connection:
            return list(connection.scalars(later.returning(threads.c.id)))

    def all_users_unused(self) -> list[str]:
        """Return ids of threads without a turn, and of ephemeral ones, that were not used for LOADED_FOR_MS."""
        with self._database.read() as connection:
            return list(connection.scalars(select(threads.c.id).where(*_unused())))

    def all_users_touch(self, thread_ids: Collection[str]) -> None:
        """Mark threads as used now: they count as loaded."""
        with self._database.write() as connection:
            connection.execute(update(threads).where(threads.c.id.in_(thread_ids)).values(used_at_ms=now_ms()))

    def all_users_sweep_unused(self) -> int:
        """Delete threads without a turn, and ephemeral ones, that were not used for LOADED_FOR_MS. Returns how many."""
        return self._sweep(erasures.UNUSED, *_unused())

    def all_users_sweep_old(self, before_ms: int, *, archived: bool) -> int:
        """Delete threads that were not updated since a time, either archived ones or the others. Returns how many."""
        kind = threads.c.archived_at_ms.is_not(None) if archived else threads.c.archived_at_ms.is_(None)
        return self._sweep(erasures.AGE, kind, threads.c.updated_at_ms < before_ms)

    def _sweep(self, cause: str, *conditions: ColumnElement[bool]) -> int:
        active = exists().where(turns.c.thread_id == threads.c.id, turns.c.phase != "done")
        query = select(threads.c.id, threads.c.owner).where(*conditions, ~active).limit(SWEPT_AT_ONCE)
        swept = 0
        while True:
            with self._database.write() as connection:
                found = list(connection.execute(query.with_for_update(skip_locked=True)))
                for row in found:
                    erasures.erase_thread(connection, row.id, row.owner, cause)
            swept += len(found)
            if len(found) < SWEPT_AT_ONCE:
                return swept


def narrow(query: Select[Any], owner: str, wanted: Filter) -> Select[Any]:
    """Return a query of threads with the owner and all conditions but those on the folder and the search term."""
    query = query.where(threads.c.owner == owner, threads.c.materialized, ~threads.c.ephemeral)
    query = query.where(
        threads.c.archived_at_ms.is_not(None) if wanted.archived else threads.c.archived_at_ms.is_(None)
    )
    if wanted.sources is not None:
        query = query.where(threads.c.source.in_(wanted.sources))
    if wanted.model_providers:
        query = query.where(threads.c.model_provider.in_(wanted.model_providers))
    if wanted.originators:
        query = query.where(threads.c.originator.in_(wanted.originators))
    if wanted.included_ids is not None:
        query = query.where(threads.c.id.in_(wanted.included_ids))
    if wanted.excluded_ids:
        query = query.where(threads.c.id.not_in(wanted.excluded_ids))
    return query


def _unused() -> tuple[ColumnElement[bool], ...]:
    return or_(~threads.c.materialized, threads.c.ephemeral), threads.c.used_at_ms < now_ms() - LOADED_FOR_MS


def check_id(thread_id: str) -> None:
    """Check the form of an id. Errors: InvalidRequest with the original's wording (PROTOCOL 2.1)."""
    if not is_id(thread_id):
        raise InvalidRequest(f"invalid thread id: {thread_id[:80]}")


def find_thread(connection: Connection, thread_id: str, owner: str) -> Thread | None:
    found = _with_status(connection, connection.execute(_THREAD, {"of": thread_id, "owner": owner}).all())
    return found[0] if found else None


def lock_thread(connection: Connection, thread_id: str, owner: str) -> Thread:
    """Lock the row of the owner's thread until the transaction ends, and return the thread. Errors: NotFound."""
    check_id(thread_id)
    found = _with_status(connection, connection.execute(_LOCKED_THREAD, {"of": thread_id, "owner": owner}).all())
    if not found:
        raise NotFound(f"thread not found: {thread_id}")
    return found[0]


def save_settings(connection: Connection, thread_id: str, settings: ThreadSettings) -> None:
    connection.execute(
        update(threads)
        .where(threads.c.id == thread_id)
        .values(settings=settings, cwd=settings["cwd"], model_provider=settings["modelProvider"], used_at_ms=now_ms())
    )


def _with_status(connection: Connection, rows: Sequence[Row[Any]]) -> list[Thread]:
    """Return threads with the status that follows from their turns: the same few queries for a whole page."""
    if not rows:
        return []
    ids = {"ids": [row.id for row in rows]}
    active = {row.thread_id: row.id for row in connection.execute(_ACTIVE, ids)}
    flags: dict[str, list[str]] = {}
    if active:
        query = select(approvals.c.thread_id, approvals.c.method)
        for row in connection.execute(query.where(approvals.c.thread_id.in_(active), approvals.c.state == "pending")):
            flags.setdefault(row.thread_id, []).extend(FLAGS.get(row.method, WAITING_ON_APPROVAL))
    failed = set(connection.scalars(_FAILED, ids))
    return [
        Thread(
            **{name: row._mapping[name] for name in _COLUMNS}
            | {"settings": with_own_workspace(connection, row.owner, row.id, row.settings)},
            active_turn=active.get(row.id),
            waiting_on=tuple(sorted(set(flags.get(row.id, ())))),
            failed=row.id in failed,
        )
        for row in rows
    ]


_THREAD = select(threads).where(threads.c.id == bindparam("of"), threads.c.owner == bindparam("owner"))
_LOCKED_THREAD = _THREAD.with_for_update()
_OF_THREADS = turns.c.thread_id.in_(bindparam("ids", expanding=True))
_ACTIVE = select(turns.c.thread_id, turns.c.id).where(_OF_THREADS, turns.c.phase != literal_column("'done'"))
_FAILED = select(turns.c.thread_id).where(
    turns.c.id.in_(select(func.max(turns.c.id)).where(_OF_THREADS).group_by(turns.c.thread_id)),
    turns.c.status == "failed",
)
_DERIVED = {"active_turn", "waiting_on", "failed"}
_COLUMNS = [name for name in Thread.__dataclass_fields__ if name not in _DERIVED]


def columns(thread: Thread) -> dict[str, Any]:
    """Return the columns of a row for a thread."""
    values = {name: getattr(thread, name) for name in _COLUMNS}
    return {**values, "cwd": thread.settings["cwd"], "model_provider": thread.settings["modelProvider"]}


def session_due() -> dict[str, Any]:
    """Return the column that says when the session file of a changed thread is to be written; a time in it stays."""
    return {"session_due_at_ms": func.coalesce(threads.c.session_due_at_ms, now_ms() + SESSION_DELAY_MS)}


def count_bytes(connection: Connection, thread_id: str) -> None:
    """Measure a thread's log again, after it was changed by something other than the end of a turn."""
    size = select(item_rows.SIZE).where(items.c.thread_id == thread_id).scalar_subquery()
    connection.execute(update(threads).where(threads.c.id == thread_id).values(stored_bytes=size))


def format_cursor(at_ms: int, thread_id: str | None) -> str:
    """Return `2026-11-22T11:02:48.123Z|ID`, or the time alone without an id (PROTOCOL 5.5)."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z") + (f"|{thread_id}" if thread_id else "")


def parse_cursor(cursor: str) -> tuple[int, str]:
    """Return the time in ms and the id of a cursor; one that is only a time has LAST_ID. Errors: InvalidRequest."""
    at, _, thread_id = cursor.partition("|")
    try:
        moment = datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
        if moment.tzinfo is None or (thread_id and not is_id(thread_id)):
            raise ValueError(cursor)
    except ValueError:
        raise InvalidRequest(f"invalid cursor: {cursor[:200]}") from None
    return round(moment.timestamp() * 1000), thread_id or LAST_ID
