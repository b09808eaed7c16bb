"""Erasures: threads and users whose data is being removed, and the receipts of what was removed.

Rows of the database go in the transaction of the request. Events, files and the like follow later: a worker
(workers.tasks.erase) counts them, stores the counts in the receipt and *then* removes them, so that the receipt stays
right when the worker is killed at any point and another one repeats the work. The audit log and the receipts hold ids
only and stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, insert, select, update

from shared.clock import now_ms
from shared.errors import Conflict, NotFound
from shared.ids import new_id
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.tables import api_keys, archive_chunks, archives, erasures, metadata, threads, turns, users

THREAD, USER = "thread", "user"
DELETED, UNUSED, AGE, USER_DELETED = "thread/delete", "unused", "retention", "users delete"
CAUSES = (DELETED, UNUSED, AGE, USER_DELETED)  # UNUSED leaves no receipt: such a thread never had a message
KEPT = ("audit", "erasures")  # tables that hold ids only
LATER = ("feedback",)  # tables whose rows have files beside them; a worker removes both
AGAIN_MS = 30_000  # after which an erasure is tried again, should its worker be lost
CLAIMED_AT_ONCE = 20  # erasures; so few that they are done before they are due again
THREADS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Erasure:
    """The removal of one thread or user.

    kind:       THREAD or USER; subject_id: the id of that thread or user
    cause:      one of CAUSES
    done_at_ms: None: something is left
    receipt:    {name of a table or other storage: how many of its entries were removed}
    """

    id: str
    kind: str
    subject_id: str
    owner: str
    cause: str
    requested_at_ms: int
    done_at_ms: int | None
    receipt: dict[str, int]


class Erasures:
    """The erasures table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, owner: str, *, after_id: str | None, limit: int) -> list[Erasure]:
        """Return a page of the owner's erasures, newest first. after_id: the last erasure of the page before."""
        return self._page(erasures.c.owner == owner, after_id, limit)

    def all_users_page(self, *, after_id: str | None, limit: int) -> list[Erasure]:
        """Return a page of the erasures of all users, newest first. after_id: the last erasure of the page before."""
        return self._page(None, after_id, limit)

    def _page(self, condition: ColumnElement[bool] | None, after_id: str | None, limit: int) -> list[Erasure]:
        query = select(erasures).order_by(erasures.c.id.desc()).limit(limit)
        if condition is not None:
            query = query.where(condition)
        if after_id is not None:
            query = query.where(erasures.c.id < after_id)
        with self._database.read() as connection:
            return [_from_row(row) for row in connection.execute(query)]

    def all_users_find(self, erasure_id: str) -> Erasure | None:
        with self._database.read() as connection:
            row = connection.execute(select(erasures).where(erasures.c.id == erasure_id)).first()
        return None if row is None else _from_row(row)

    def erase_user(self, name: str, *, audit_entry: AuditEntry) -> Erasure:
        """Delete a user and their keys, and begin to erase their data. Errors: NotFound, Conflict (the last user)."""
        with self._database.write() as connection:
            row = connection.execute(select(users).where(users.c.name == name).with_for_update()).first()
            if row is None:
                raise NotFound(f"no user {name!r}")
            if (connection.scalar(select(func.count()).select_from(users)) or 0) < 2:
                risk = "a server without users serves every request without a key"
                raise Conflict(f"{name!r} is the last user, and {risk}; add another user first")
            keys = connection.execute(delete(api_keys).where(api_keys.c.user_id == row.id)).rowcount
            connection.execute(delete(users).where(users.c.id == row.id))
            audit.write(connection, audit_entry, subject_id=row.id)
            return _add(connection, USER, row.id, row.id, USER_DELETED, {"users": 1, "api_keys": keys}, now_ms())

    def all_users_due(self) -> bool:
        """Return whether an erasure is due now."""
        due = erasures.c.done_at_ms.is_(None) & (erasures.c.due_at_ms <= now_ms())
        with self._database.read() as connection:
            return bool(connection.scalar(select(exists().where(due))))

    def all_users_claim(self) -> list[Erasure]:
        """Claim erasures that are due, in an order in which their owners take turns.

        They are due again after AGAIN_MS unless they are finished.
        """
        due = erasures.c.done_at_ms.is_(None), erasures.c.due_at_ms <= now_ms()
        oldest = (erasures.c.due_at_ms, erasures.c.id)
        place = func.row_number().over(partition_by=erasures.c.owner, order_by=oldest)
        in_turn = select(erasures.c.id).where(*due).order_by(place, *oldest).limit(CLAIMED_AT_ONCE)
        with self._database.write() as connection:
            ids = connection.scalars(in_turn).all()
            free = select(erasures.c.id).where(erasures.c.id.in_(ids), *due).with_for_update(skip_locked=True)
            claimed = update(erasures).where(erasures.c.id.in_(free)).values(due_at_ms=now_ms() + AGAIN_MS)
            found = [_from_row(row) for row in connection.execute(claimed.returning(*erasures.c))]
        return sorted(found, key=lambda erasure: ids.index(erasure.id))

    def all_users_record_counts(self, erasure: Erasure, counts: dict[str, int]) -> None:
        """Record how many entries of each storage are about to be removed; the first count of a storage stands."""
        with self._database.write() as connection:
            _note(connection, erasure.id, counts)

    def all_users_finish(self, erasure: Erasure) -> None:
        """Mark an erasure as done: nothing is left to remove."""
        with self._database.write() as connection:
            this = erasures.c.id == erasure.id
            if erasure.cause == UNUSED:
                connection.execute(delete(erasures).where(this))
            else:
                connection.execute(update(erasures).where(this).values(done_at_ms=now_ms()))

    def all_users_forget(self, before_ms: int) -> int:
        """Delete receipts of erasures done before a time. Returns how many."""
        with self._database.write() as connection:
            return connection.execute(delete(erasures).where(erasures.c.done_at_ms < before_ms)).rowcount

    # -- what goes with a user, step by step

    def all_users_threads(self, owner: str) -> list[str]:
        """Return ids of threads that the owner still has, at most THREADS_AT_ONCE."""
        with self._database.read() as connection:
            query = select(threads.c.id).where(threads.c.owner == owner).limit(THREADS_AT_ONCE)
            return list(connection.scalars(query))

    def all_users_erase_thread(self, thread_id: str, cause: str) -> None:
        """Erase a thread, whoever owns it; harmless when it does not exist."""
        with self._database.write() as connection:
            connection.execute(select(turns.c.id).where(turns.c.thread_id == thread_id).with_for_update())
            owned = select(threads.c.owner).where(threads.c.id == thread_id).with_for_update()
            owner = connection.scalar(owned)
            if owner is not None:
                erase_thread(connection, thread_id, owner, cause)

    def all_users_erase_rows(self, erasure: Erasure) -> bool:
        """Delete the other rows of a user whose threads are erased, and add the threads' receipts to the user's own.

        Returns: False when the erasure of a thread is not done yet; nothing was changed
        """
        of_threads = [erasures.c.owner == erasure.owner, erasures.c.cause == USER_DELETED, erasures.c.kind == THREAD]
        with self._database.write() as connection:
            receipts = list(connection.execute(select(erasures).where(*of_threads).with_for_update()))
            if any(row.done_at_ms is None for row in receipts):
                return False
            counts: dict[str, int] = {}
            for receipt in (row.receipt for row in receipts):
                counts = {name: counts.get(name, 0) + receipt.get(name, 0) for name in counts | receipt}
            connection.execute(delete(erasures).where(*of_threads))
            of_archives = archive_chunks.c.archive_id.in_(
                select(archives.c.id).where(archives.c.owner == erasure.owner)
            )
            connection.execute(delete(archive_chunks).where(of_archives))
            for column in ("owner", "user_id"):
                for table in _tables_with(column):
                    gone = connection.execute(delete(table).where(table.c[column] == erasure.owner)).rowcount
                    counts[str(table.name)] = counts.get(str(table.name), 0) + gone
            _note(connection, erasure.id, {name: count for name, count in counts.items() if count})
        return True


def erase_thread(connection: Connection, thread_id: str, owner: str, cause: str) -> None:
    """Delete all rows of a thread and store an erasure for the rest. The caller has locked its turns' rows and its own.

    The erasure is due when the lease of a running turn is over: until then its worker may still write files.
    """
    if connection.dialect.name == "sqlite":  # deleted content must not stay in free pages of the file
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    of_thread = turns.c.thread_id == thread_id
    lease = select(func.max(turns.c.lease_until_ms)).where(of_thread, turns.c.phase == "running")
    due_at_ms = connection.scalar(lease) or now_ms()
    counts = {}
    in_turns = select(turns.c.id).where(of_thread)
    for table in _tables_with("turn_id"):
        if "thread_id" not in table.c:
            counts[str(table.name)] = connection.execute(delete(table).where(table.c.turn_id.in_(in_turns))).rowcount
    for table in _tables_with("thread_id"):
        counts[str(table.name)] = connection.execute(delete(table).where(table.c.thread_id == thread_id)).rowcount
    counts["threads"] = connection.execute(delete(threads).where(threads.c.id == thread_id)).rowcount
    _add(connection, THREAD, thread_id, owner, cause, {name: n for name, n in counts.items() if n}, due_at_ms)


def _tables_with(column: str) -> list[Table]:
    return [table for table in metadata.sorted_tables if column in table.c and table.name not in KEPT + LATER]


def _add(
    connection: Connection, kind: str, subject_id: str, owner: str, cause: str, receipt: dict[str, int], due_at_ms: int
) -> Erasure:
    erasure = Erasure(new_id(), kind, subject_id, owner, cause, now_ms(), None, receipt)
    values = {name: getattr(erasure, name) for name in Erasure.__dataclass_fields__}
    connection.execute(insert(erasures).values({**values, "due_at_ms": due_at_ms}))
    return erasure


def _note(connection: Connection, erasure_id: str, counts: dict[str, int]) -> None:
    query = select(erasures.c.receipt).where(erasures.c.id == erasure_id).with_for_update()
    receipt = connection.scalar(query)
    if receipt is not None:
        connection.execute(update(erasures).where(erasures.c.id == erasure_id).values(receipt=counts | receipt))


def _from_row(row: Any) -> Erasure:
    return Erasure(**{name: row._mapping[name] for name in Erasure.__dataclass_fields__})
