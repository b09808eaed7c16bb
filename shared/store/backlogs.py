"""What waits in the database for workers of the background queues: messages, reports, session files, erasures."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Table, func, select

from shared.store.connection import Database
from shared.store.tables import erasures, feedback, outbox, threads

MAX_COUNTED = 10_000  # of one kind


@dataclass(frozen=True, slots=True)
class Backlog:
    """Work of one kind. Times are Unix ms by the clock of the process that stored them; None: nothing waits.

    count:    how much waits; at most MAX_COUNTED are counted
    since_ms: when the oldest was added
    due_ms:   when the first of it is to be done, or tried again
    """

    kind: str
    count: int
    since_ms: int | None
    due_ms: int | None


class Backlogs:
    """Reads what waits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_users_messages(self) -> Backlog:
        """Return what is to be delivered to webhooks and to the notify program."""
        return self._read("messages", outbox, outbox.c.created_at_ms, outbox.c.due_at_ms, outbox.c.state == "pending")

    def all_users_feedback(self) -> Backlog:
        """Return the reports that no worker has processed."""
        due = feedback.c.due_at_ms
        return self._read("feedback reports", feedback, feedback.c.created_at_ms, due, due.is_not(None))

    def all_users_sessions(self) -> Backlog:
        """Return the session files that are to be written."""
        due = threads.c.session_due_at_ms
        return self._read("session files", threads, due, due, due.is_not(None))

    def all_users_erasures(self) -> Backlog:
        """Return the threads and users of which something is left to remove."""
        is_open = erasures.c.done_at_ms.is_(None)
        return self._read("erasures", erasures, erasures.c.requested_at_ms, erasures.c.due_at_ms, is_open)

    def _read(
        self,
        kind: str,
        table: Table,
        added: ColumnElement[int | None],
        due: ColumnElement[int | None],
        waits: ColumnElement[bool],
    ) -> Backlog:
        counted = select(table.c.id).where(waits).limit(MAX_COUNTED).subquery()
        ends = (select(func.min(column)).where(waits).scalar_subquery() for column in (added, due))
        with self._database.read() as connection:
            row = connection.execute(select(select(func.count()).select_from(counted).scalar_subquery(), *ends)).one()
        return Backlog(kind, *row)
