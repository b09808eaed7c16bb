"""The audit log: who did what, when and from where. Rows hold ids only; they are appended and never changed.

A store method whose change must be accounted for takes an `AuditEntry` and writes the row in its own transaction, so
that neither the change nor its row exists without the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Select, delete, insert, select

from shared.clock import now_ms
from shared.store.connection import DEFERRED, Database
from shared.store.tables import audit

OPERATOR = "operator"  # owner of what commands on the host do
PAGE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An action that is about to happen.

    owner:     id of the user who acts, or OPERATOR
    action:    the method of the request, or the operator's command
    transport: "websocket", "http" or "host"
    address:   where the request came from
    key_id:    of the API key that authenticated the request
    detail:    one word, such as the decision of an approval; never content
    """

    owner: str
    action: str
    transport: str
    address: str | None = None
    key_id: str | None = None
    detail: str | None = None

    @classmethod
    def of_operator(cls, action: str, address: str | None = None) -> AuditEntry:
        """Return the entry of a command on the host, or of what the server does by its configuration."""
        return cls(OPERATOR, action, "host", address)

    def with_detail(self, detail: str) -> AuditEntry:
        return replace(self, detail=detail)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the audit log; times in Unix ms."""

    id: int
    at_ms: int
    owner: str
    action: str
    thread_id: str | None
    subject_id: str | None
    detail: str | None
    transport: str | None
    address: str | None
    key_id: str | None


_NEW = insert(audit).inline().execution_options(**DEFERRED)


def write(
    connection: Connection,
    audit_entry: AuditEntry | None,
    *,
    thread_id: str | None = None,
    subject_id: str | None = None,
) -> None:
    """Write a row in the transaction of the change. audit_entry None: nobody is accountable, as for the sweep."""
    if audit_entry is not None:
        values = {name: getattr(audit_entry, name) for name in AuditEntry.__dataclass_fields__}
        connection.execute(_NEW, {**values, "at_ms": now_ms(), "thread_id": thread_id, "subject_id": subject_id})


class Audit:
    """The audit table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, audit_entry: AuditEntry, *, thread_id: str | None = None, subject_id: str | None = None) -> None:
        """Write a row for an action that changes nothing else in the store."""
        with self._database.write() as connection:
            write(connection, audit_entry, thread_id=thread_id, subject_id=subject_id)

    def all_users_page(
        self,
        *,
        after_id: int = 0,
        owner: str | None = None,
        thread_id: str | None = None,
        action: str | None = None,
        since_ms: int = 0,
        limit: int = PAGE_ROWS,
    ) -> list[Row]:
        """Return rows beyond after_id, oldest first. None: no condition."""
        query = _of(owner, thread_id, action).where(audit.c.id > after_id, audit.c.at_ms >= since_ms)
        return self._rows(query.order_by(audit.c.id).limit(limit))

    def all_users_newest(
        self,
        *,
        before_id: int | None = None,
        owner: str | None = None,
        thread_id: str | None = None,
        action: str | None = None,
        limit: int,
    ) -> list[Row]:
        """Return rows, newest first. before_id: the last row of the page before; None: no condition."""
        query = _of(owner, thread_id, action)
        if before_id is not None:
            query = query.where(audit.c.id < before_id)
        return self._rows(query.order_by(audit.c.id.desc()).limit(limit))

    def _rows(self, query: Select[Any]) -> list[Row]:
        with self._database.read() as connection:
            found: list[Any] = list(connection.execute(query))
        return [Row(**row._mapping) for row in found]

    def all_users_forget(self, before_ms: int) -> int:
        """Delete rows older than a time and return how many: the only way that rows go (`[retention] audit_days`)."""
        with self._database.write() as connection:
            return connection.execute(delete(audit).where(audit.c.at_ms < before_ms)).rowcount


def _of(owner: str | None, thread_id: str | None, action: str | None) -> Select[Any]:
    query = select(audit)
    for column, wanted in ((audit.c.owner, owner), (audit.c.thread_id, thread_id), (audit.c.action, action)):
        if wanted is not None:
            query = query.where(column == wanted)
    return query
