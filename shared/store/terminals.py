"""Background terminals: commands that run on after their turn, each in the worker process that ran the turn.

A row is the right to write the end of the command's item: the worker holds it by a lease, as it holds a turn by a
claim, and the sweep ends the item of a worker whose lease ran out. The row stays after the end until that is published
and the thread's model has read what it must know of it, and for an hour, in which the model can look at the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.protocol.items import with_status
from shared.store import items as item_rows
from shared.store.connection import Database
from shared.store.items import Item
from shared.store.tables import items, terminals, threads
from shared.store.threads import session_due
from shared.store.turns import rows as turn_rows

KEPT_MS = 3_600_000  # after the end, for which a model can read the outcome
PUBLISHED_AFTER_MS = 5000  # after which the sweep publishes an end that its worker has not published
AT_ONCE = 200  # rows that one sweep looks at
MAX_REPORTS = 20  # that a model reads at once; they are short


@dataclass(frozen=True, slots=True)
class Terminal:
    """A command that runs on after its turn.

    process_id: the number that the model knows it by; unique in the thread
    command:    as the model wrote it
    worker:     the process that runs it
    """

    item_id: str
    thread_id: str
    turn_id: str
    owner: str
    process_id: int
    command: str
    cwd: str
    worker: str
    created_at_ms: int


_COLUMNS = tuple(Terminal.__dataclass_fields__)
_RUNNING: ColumnElement[bool] = terminals.c.ended_at_ms.is_(None)
HAS_REPORTS = exists().where(terminals.c.thread_id == threads.c.id, terminals.c.report.is_not(None))  # of a thread


class Terminals:
    """The terminals table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_thread(self, thread_id: str, owner: str) -> list[Terminal]:
        """Return the terminals that run in a thread, newest first."""
        query = select(terminals).where(terminals.c.thread_id == thread_id, terminals.c.owner == owner, _RUNNING)
        with self._database.read() as connection:
            return [_from_row(row) for row in connection.execute(query.order_by(terminals.c.item_id.desc()))]

    def find(self, thread_id: str, owner: str, process_id: int) -> Terminal | None:
        """Return a terminal that runs; None: there is none with this number."""
        query = select(terminals).where(
            terminals.c.thread_id == thread_id, terminals.c.owner == owner, terminals.c.process_id == process_id
        )
        with self._database.read() as connection:
            row = connection.execute(query.where(_RUNNING)).first()
        return None if row is None else _from_row(row)

    def count(self, owner: str) -> int:
        """Return how many terminals of a user run."""
        query = select(func.count()).select_from(terminals).where(terminals.c.owner == owner, _RUNNING)
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def request_stop(self, thread_id: str, owner: str, process_id: int | None = None) -> list[str]:
        """Ask the workers to end one terminal of a thread, or all. Returns the item ids of those now asked to end."""
        asked = update(terminals).where(
            terminals.c.thread_id == thread_id, terminals.c.owner == owner, _RUNNING, ~terminals.c.stopping
        )
        if process_id is not None:
            asked = asked.where(terminals.c.process_id == process_id)
        with self._database.write() as connection:
            return list(connection.scalars(asked.values(stopping=True).returning(terminals.c.item_id)))

    def renew(self, worker: str, *, lease_ms: int) -> dict[str, bool]:
        """Renew the leases of a worker's terminals. Returns item id → whether somebody has asked to end it."""
        renewal = update(terminals).where(terminals.c.worker == worker, _RUNNING)
        renewal = renewal.values(lease_until_ms=self._database.now_ms() + lease_ms)
        with self._database.write() as connection:
            found = connection.execute(renewal.returning(terminals.c.item_id, terminals.c.stopping)).all()
        return {row.item_id: row.stopping for row in found}

    def outcome(self, thread_id: str, owner: str, process_id: int) -> tuple[str, str] | None:
        """Return (item id, outcome) of a terminal that ended within KEPT_MS; None: there is none with this number."""
        query = select(terminals.c.item_id, terminals.c.outcome).where(
            terminals.c.thread_id == thread_id,
            terminals.c.owner == owner,
            terminals.c.process_id == process_id,
            terminals.c.outcome.is_not(None),
        )
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.item_id, row.outcome)

    def end(self, terminal: Terminal, item: Mapping[str, Any], outcome: str, report: str | None) -> Item | None:
        """Store how a terminal's command ended.

        outcome: what the model reads that looks at the terminal
        report:  what the thread's model must know, even if it does not look; None: nothing

        Returns: the row of its item; None when the worker does not hold the terminal any more, so nothing was stored
        """
        with self._database.write() as connection:
            turn_rows.lock(connection, [terminal.turn_id])
            own = and_(terminals.c.item_id == terminal.item_id, terminals.c.worker == terminal.worker, _RUNNING)
            return _end(connection, own, terminal, item, outcome, report)

    def all_users_end_lost(self) -> list[tuple[Terminal, Item]]:
        """End the terminals whose workers were lost. Returns them with the rows of their items."""
        over = and_(_RUNNING, terminals.c.lease_until_ms < self._database.now_ms())
        ended = []
        with self._database.read() as connection:
            lost = [_from_row(row) for row in connection.execute(select(terminals).where(over).limit(AT_ONCE))]
        for terminal in lost:
            with self._database.write() as connection:
                turn_rows.lock(connection, [terminal.turn_id])
                begun = connection.scalar(select(items.c.item).where(items.c.id == terminal.item_id))
                report = (
                    f"The worker that ran session {terminal.process_id} (`{terminal.command}`) was lost, "
                    "and the command with it."
                )
                still = and_(terminals.c.item_id == terminal.item_id, over)
                item: Mapping[str, Any] = with_status(begun, "failed") if begun else {}
                row = _end(connection, still, terminal, item, report, report)
                if row is not None:
                    ended.append((terminal, row))
        return ended

    def all_users_unpublished(self) -> list[tuple[Terminal, Item]]:
        """Return terminals whose end was stored a while ago and is not published, with the rows of their items."""
        query = select(terminals).where(terminals.c.ended_at_ms < now_ms() - PUBLISHED_AFTER_MS)
        query = query.join(items, items.c.id == terminals.c.item_id).where(items.c.published_state < 2)
        with self._database.read() as connection:
            found = [_from_row(row) for row in connection.execute(query.limit(AT_ONCE))]
            return [(one, item_rows.read(connection, items.c.id == one.item_id)[0]) for one in found]

    def all_users_forget(self) -> None:
        """Delete the rows of terminals whose end is published and reported, when nobody will look any more."""
        settled = exists().where(items.c.id == terminals.c.item_id, items.c.published_state < 2)
        over = terminals.c.ended_at_ms < now_ms() - KEPT_MS
        with self._database.read() as connection:
            query = select(terminals.c.item_id).where(over, terminals.c.report.is_(None), ~settled)
            found = connection.scalars(query.limit(AT_ONCE)).all()
        if found:
            with self._database.write() as connection:
                connection.execute(delete(terminals).where(terminals.c.item_id.in_(found)))

    def reports(self, thread_id: str, owner: str) -> dict[str, str]:
        """Return item id → report of the end of a terminal that the thread's model has not read, oldest first."""
        query = select(terminals.c.item_id, terminals.c.report).where(
            terminals.c.thread_id == thread_id, terminals.c.owner == owner, terminals.c.report.is_not(None)
        )
        with self._database.read() as connection:
            found = connection.execute(query.order_by(terminals.c.item_id).limit(MAX_REPORTS)).all()
        return {row.item_id: row.report for row in found}


def add(connection: Connection, kept: Sequence[Terminal], lease_until_ms: ColumnElement[int]) -> None:
    """Store terminals in the transaction with which their turn leaves its worker."""
    for terminal in kept:
        values = {name: getattr(terminal, name) for name in _COLUMNS}
        connection.execute(insert(terminals).values({**values, "lease_until_ms": lease_until_ms}))


def mark_reported(connection: Connection, item_ids: Sequence[str]) -> None:
    """Store that the model has read of the end of these terminals."""
    connection.execute(update(terminals).where(terminals.c.item_id.in_(item_ids)).values(report=None))


def _end(
    connection: Connection,
    condition: ColumnElement[bool],
    terminal: Terminal,
    item: Mapping[str, Any],
    outcome: str,
    report: str | None,
) -> Item | None:
    """End a terminal that meets the condition, and complete its item. None: it does not meet it."""
    at_ms = now_ms()
    ended = update(terminals).where(condition).values(ended_at_ms=at_ms, outcome=outcome, report=report)
    if not connection.execute(ended).rowcount:
        return None
    old_bytes = connection.scalar(select(item_rows.SIZE).where(items.c.id == terminal.item_id)) or 0
    completed = update(items).where(items.c.id == terminal.item_id).values(item=item, completed_at_ms=at_ms)
    row = connection.execute(completed.returning(*item_rows.SELECTED)).first()
    if row is None:  # the turn was removed from the thread's history
        return None
    new_bytes = connection.scalar(select(item_rows.SIZE).where(items.c.id == terminal.item_id)) or 0
    values: dict[str, Any] = {
        "stored_bytes": threads.c.stored_bytes + (new_bytes - old_bytes),
        **session_due(),
    }
    connection.execute(update(threads).where(threads.c.id == terminal.thread_id).values(values))
    return item_rows.from_row(row)


def _from_row(row: Row[Any]) -> Terminal:
    return Terminal(**{name: row._mapping[name] for name in _COLUMNS})
