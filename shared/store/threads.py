"""Threads: who owns them, how they are set, and lists that never read a history."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, literal, or_, select, text, tuple_, update
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.errors import Conflict, InvalidRequest, NotFound
from shared.ids import is_id
from shared.store import audit, erasures
from shared.store import items as item_rows
from shared.store import workspaces as workspace_rows
from shared.store.audit import Act
from shared.store.connection import Database
from shared.store.tables import approvals, items, threads, turns

SORT_COLUMNS = {
    "created_at": threads.c.created_at_ms,
    "updated_at": threads.c.updated_at_ms,
    "recency_at": threads.c.recency_at_ms,
}
SESSION_AGAIN_MS = 60_000  # after which a session file is asked for again, should its writer be lost
SWEPT_AT_ONCE = 100  # threads that one transaction removes
LOADED_FOR_MS = 30 * 60 * 1000  # "loaded" is active, or used this recently
# What a thread that asks a client something is said to wait on; a call of a client's own tool waits on nobody.
TITLE_SOURCE = "thread_title"  # threads in which the terminal client has its threads named
FLAGS: dict[str, tuple[str, ...]] = {"item/tool/requestUserInput": ("waitingOnUserInput",), "item/tool/call": ()}
WAITING_ON_APPROVAL = ("waitingOnApproval",)


@dataclass(frozen=True, slots=True)
class Thread:
    """One thread.

    settings:    {"model", "modelProvider", "effort", "summary", "cwd", "approvalPolicy", "approvalsReviewer",
                 "sandboxPolicy", "serviceTier", "personality", "collaborationMode", "developerInstructions",
                 "baseInstructions", "dynamicTools"}
    token_usage: tokenUsage of PROTOCOL section 6, or None
    goal:        {"objective", "status", "tokenBudget", "tokensBefore", "createdAtMs", "updatedAtMs"}, or None
    active_turn: id of the turn that is not done, or None
    waiting_on:  flags of an active thread (PROTOCOL 3.1)
    failed:      whether the last turn failed
    """

    id: str
    owner: str
    session_id: str
    settings: dict[str, Any]
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
    git_info: dict[str, Any] | None = None
    ephemeral: bool = False
    materialized: bool = False
    archived_at_ms: int | None = None
    token_usage: dict[str, Any] | None = None
    claim_no: int = 0
    goal: dict[str, Any] | None = None
    history_mode: str | None = None
    active_turn: str | None = None
    waiting_on: tuple[str, ...] = ()
    failed: bool = False

    @property
    def loaded(self) -> bool:
        return self.active_turn is not None or self.used_at_ms > now_ms() - LOADED_FOR_MS

    def status(self) -> dict[str, Any]:
        """Derived from its turns, never stored (PROTOCOL 3.1)."""
        if self.active_turn:
            return {"type": "active", "activeFlags": list(self.waiting_on)}
        if not self.loaded:
            return {"type": "notLoaded"}
        return {"type": "systemError" if self.failed else "idle"}


@dataclass(frozen=True, slots=True)
class Filter:
    """What thread/list asks for (PROTOCOL 5.5). None: no condition."""

    archived: bool = False
    sources: Sequence[str] | None = None
    model_providers: Sequence[str] | None = None
    cwds: Sequence[str] | None = None
    originators: Sequence[str] | None = None
    search_term: str | None = None
    excluded_ids: Sequence[str] = field(default_factory=tuple)


class Threads:
    """The threads table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, thread: Thread, source: dict[str, Any] | None = None, *, act: Act | None = None) -> None:
        """Store a new thread. source: what its workspace is to be made from (shared.workspaces)."""
        with self._database.write() as connection:
            connection.execute(insert(threads).values(columns(thread)))
            if source is not None:
                workspace_rows.add(connection, thread.id, thread.owner, source)
            audit.write(connection, act, thread_id=thread.id)

    def get(self, thread_id: str, owner: str) -> Thread:
        """The owner's thread. Errors: NotFound, also for somebody else's."""
        thread = self.find(thread_id, owner)
        if thread is None:
            raise NotFound(f"thread not found: {thread_id}")
        return thread

    def find(self, thread_id: str, owner: str) -> Thread | None:
        """The owner's thread, or None. Errors: InvalidRequest (not an id at all)."""
        check_id(thread_id)
        with self._database.read() as connection:
            return find_thread(connection, thread_id, owner)

    def has(self, owner: str, count: int) -> bool:
        """Whether the owner has at least that many threads, archived and empty ones too."""
        query = select(threads.c.id).where(threads.c.owner == owner).offset(count - 1).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def stored_bytes(self, owner: str) -> int:
        """What the logs of all threads of the owner take, without turns that are not over."""
        query = select(func.coalesce(func.sum(threads.c.stored_bytes), 0)).where(threads.c.owner == owner)
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)

    def change_settings(self, thread_id: str, owner: str, changes: dict[str, Any]) -> Thread:
        """Merge changes into the settings; the thread counts as used. Errors: NotFound."""
        with self._database.write() as connection:
            thread = lock_thread(connection, thread_id, owner)
            settings = {**thread.settings, **changes}
            save_settings(connection, thread_id, settings)
        return replace(thread, settings=settings, used_at_ms=now_ms())

    def set_name(self, thread_id: str, owner: str, name: str) -> None:
        """Name a thread. Errors: NotFound."""
        self._change(thread_id, owner, name=name, updated_at_ms=now_ms())

    def set_git_info(self, thread_id: str, owner: str, git_info: dict[str, Any] | None) -> None:
        """Facts about the thread's repository. Errors: NotFound."""
        self._change(thread_id, owner, git_info=git_info)

    def set_goal(self, thread_id: str, owner: str, goal: dict[str, Any] | None) -> None:
        """What the thread is to reach. Errors: NotFound."""
        self._change(thread_id, owner, goal=goal)

    def archive(self, thread_id: str, owner: str, *, act: Act | None = None) -> None:
        """Put a thread away; its active turn must have been stopped. Errors: NotFound."""
        self._change(thread_id, owner, act, archived_at_ms=now_ms(), updated_at_ms=now_ms(), used_at_ms=0)

    def unarchive(self, thread_id: str, owner: str, *, act: Act | None = None) -> Thread:
        """Bring a thread back. Errors: NotFound, Conflict (it is not archived)."""
        with self._database.write() as connection:
            thread = lock_thread(connection, thread_id, owner)
            if thread.archived_at_ms is None:
                raise Conflict(f"no archived rollout found for thread id {thread_id}")
            values = {"archived_at_ms": None, "updated_at_ms": now_ms()}
            connection.execute(update(threads).where(threads.c.id == thread_id).values(values))
            audit.write(connection, act, thread_id=thread_id)
        return replace(thread, archived_at_ms=None, updated_at_ms=now_ms())

    def delete(self, thread_id: str, owner: str, *, act: Act | None = None) -> None:
        """Remove a thread and all rows of it. Errors: NotFound."""
        with self._database.write() as connection:
            of_thread = select(turns.c.id).where(turns.c.thread_id == thread_id, turns.c.owner == owner)
            connection.execute(of_thread.order_by(turns.c.id).with_for_update())
            lock_thread(connection, thread_id, owner)
            erasures.erase_thread(connection, thread_id, owner, erasures.DELETED)
            audit.write(connection, act, thread_id=thread_id)

    def _change(self, thread_id: str, owner: str, act: Act | None = None, **values: Any) -> None:
        with self._database.write() as connection:
            lock_thread(connection, thread_id, owner)
            connection.execute(update(threads).where(threads.c.id == thread_id).values(values))
            audit.write(connection, act, thread_id=thread_id)

    def page(
        self, owner: str, wanted: Filter, *, sort_key: str, descending: bool, after: tuple[int, str] | None, limit: int
    ) -> list[Thread]:
        """One page by keyset: rows beyond `after` = (time in ms, id), in order, at most limit. Ephemeral ones never."""
        column = SORT_COLUMNS[sort_key]
        query = select(threads).where(threads.c.owner == owner, threads.c.materialized, ~threads.c.ephemeral)
        query = query.where(
            threads.c.archived_at_ms.is_not(None) if wanted.archived else threads.c.archived_at_ms.is_(None)
        )
        if wanted.sources is not None:
            query = query.where(threads.c.source.in_(wanted.sources))
        if wanted.model_providers:
            query = query.where(threads.c.model_provider.in_(wanted.model_providers))
        if wanted.originators:
            query = query.where(threads.c.originator.in_(wanted.originators))
        if wanted.cwds is not None:
            query = query.where(threads.c.cwd.in_(wanted.cwds))
        if wanted.excluded_ids:
            query = query.where(threads.c.id.not_in(wanted.excluded_ids))
        if wanted.search_term:
            query = query.where(
                or_(*(self._contains(said, wanted.search_term) for said in (threads.c.name, threads.c.preview)))
            )
        if after is not None:
            place, beyond = tuple_(column, threads.c.id), tuple_(*map(literal, after))
            query = query.where(place < beyond if descending else place > beyond)
        order = (column.desc(), threads.c.id.desc()) if descending else (column.asc(), threads.c.id.asc())
        with self._database.read() as connection:
            if not self._database.is_sqlite:
                # A prepared statement is planned for any words at once, and takes the wrong index for many.
                connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
            rows = connection.execute(query.order_by(*order).limit(limit)).all()
            return _with_status(connection, rows)

    def _contains(self, column: Any, term: str) -> Any:
        """Case-sensitive substring; LIKE on SQLite folds case, so it is asked otherwise there."""
        if self._database.is_sqlite:
            return func.instr(column, term) > 0
        return column.contains(term, autoescape=True)

    def list_loaded(self, owner: str, after_id: str | None, limit: int) -> list[str]:
        """Ids of loaded threads, in the order of their ids."""
        query = select(threads.c.id).where(threads.c.owner == owner, threads.c.archived_at_ms.is_(None))
        active = exists().where(turns.c.thread_id == threads.c.id, turns.c.phase != "done")
        query = query.where(or_(threads.c.used_at_ms > now_ms() - LOADED_FOR_MS, active))
        if after_id:
            query = query.where(threads.c.id > after_id)
        with self._database.read() as connection:
            return list(connection.scalars(query.order_by(threads.c.id).limit(limit)))

    def all_users_due_sessions(self) -> list[str]:
        """Threads whose session files are due now; they come again after a while if nobody writes them."""
        due = select(threads.c.id).where(threads.c.session_due_at_ms <= now_ms(), ~threads.c.ephemeral).limit(200)
        later = update(threads).where(threads.c.id.in_(due)).values(session_due_at_ms=now_ms() + SESSION_AGAIN_MS)
        with self._database.read() as connection:
            if connection.scalar(due) is None:
                return []
        with self._database.write() as connection:
            return list(connection.scalars(later.returning(threads.c.id)))

    def all_users_unused(self) -> list[str]:
        """Threads without a turn, and ephemeral ones, that nobody used for 30 minutes."""
        with self._database.read() as connection:
            return list(connection.scalars(select(threads.c.id).where(*_unused())))

    def all_users_touch(self, thread_ids: Collection[str]) -> None:
        """The threads were used: they count as loaded from now."""
        with self._database.write() as connection:
            connection.execute(update(threads).where(threads.c.id.in_(thread_ids)).values(used_at_ms=now_ms()))

    def all_users_sweep_unused(self) -> int:
        """Remove threads without a turn, and ephemeral ones, that nobody used for 30 minutes. How many there were."""
        return self._sweep(erasures.UNUSED, *_unused())

    def all_users_sweep_old(self, before_ms: int, *, archived: bool) -> int:
        """Remove threads that did not change since a time, archived ones or the others. How many there were."""
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


def _unused() -> tuple[ColumnElement[bool], ...]:
    return or_(~threads.c.materialized, threads.c.ephemeral), threads.c.used_at_ms < now_ms() - LOADED_FOR_MS


def check_id(thread_id: str) -> None:
    """Errors: InvalidRequest with the original's wording (PROTOCOL 2.1)."""
    if not is_id(thread_id):
        raise InvalidRequest(f"invalid thread id: {thread_id[:80]}")


def find_thread(connection: Connection, thread_id: str, owner: str) -> Thread | None:
    query = select(threads).where(threads.c.id == thread_id, threads.c.owner == owner)
    found = _with_status(connection, connection.execute(query).all())
    return found[0] if found else None


def lock_thread(connection: Connection, thread_id: str, owner: str) -> Thread:
    """The owner's thread, its row locked until the transaction ends. Errors: NotFound."""
    check_id(thread_id)
    query = select(threads.c.id).where(threads.c.id == thread_id, threads.c.owner == owner).with_for_update()
    if connection.execute(query).first() is None:
        raise NotFound(f"thread not found: {thread_id}")
    thread = find_thread(connection, thread_id, owner)
    assert thread is not None
    return thread


def save_settings(connection: Connection, thread_id: str, settings: dict[str, Any]) -> None:
    connection.execute(
        update(threads)
        .where(threads.c.id == thread_id)
        .values(settings=settings, cwd=settings["cwd"], model_provider=settings["modelProvider"], used_at_ms=now_ms())
    )


def _with_status(connection: Connection, rows: Sequence[Row[Any]]) -> list[Thread]:
    """Threads with what their turns say: two look-ups for a whole page."""
    ids = [row.id for row in rows]
    active = {
        row.thread_id: row.id
        for row in connection.execute(
            select(turns.c.thread_id, turns.c.id).where(turns.c.thread_id.in_(ids), turns.c.phase != "done")
        )
    }
    flags: dict[str, list[str]] = {}
    if active:
        query = select(approvals.c.thread_id, approvals.c.method)
        for row in connection.execute(query.where(approvals.c.thread_id.in_(active), approvals.c.state == "pending")):
            flags.setdefault(row.thread_id, []).extend(FLAGS.get(row.method, WAITING_ON_APPROVAL))
    last = select(func.max(turns.c.id)).where(turns.c.thread_id.in_(ids)).group_by(turns.c.thread_id)
    failed = set(connection.scalars(select(turns.c.thread_id).where(turns.c.id.in_(last), turns.c.status == "failed")))
    return [
        Thread(
            **{name: row._mapping[name] for name in _COLUMNS},
            active_turn=active.get(row.id),
            waiting_on=tuple(sorted(set(flags.get(row.id, ())))),
            failed=row.id in failed,
        )
        for row in rows
    ]


_DERIVED = {"active_turn", "waiting_on", "failed"}
_COLUMNS = [name for name in Thread.__dataclass_fields__ if name not in _DERIVED]


def columns(thread: Thread) -> dict[str, Any]:
    """A thread as a row."""
    values = {name: getattr(thread, name) for name in _COLUMNS}
    return {**values, "cwd": thread.settings["cwd"], "model_provider": thread.settings["modelProvider"]}


def count_bytes(connection: Connection, thread_id: str) -> None:
    """Measure a thread's log anew: it changed otherwise than by the end of a turn."""
    size = select(item_rows.SIZE).where(items.c.thread_id == thread_id).scalar_subquery()
    connection.execute(update(threads).where(threads.c.id == thread_id).values(stored_bytes=size))


def format_cursor(at_ms: int, thread_id: str | None) -> str:
    """`2026-11-22T11:02:48.123Z|ID`; without an id it names the time alone (PROTOCOL 5.5)."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat(timespec="milliseconds")
    return at.replace("+00:00", "Z") + (f"|{thread_id}" if thread_id else "")


def parse_cursor(cursor: str) -> tuple[int, str | None]:
    """The time in ms and the id. Errors: InvalidRequest."""
    at, _, thread_id = cursor.partition("|")
    try:
        moment = datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
        if moment.tzinfo is None or (thread_id and not is_id(thread_id)):
            raise ValueError(cursor)
    except ValueError:
        raise InvalidRequest(f"invalid cursor: {cursor[:200]}") from None
    return round(moment.timestamp() * 1000), thread_id or None
