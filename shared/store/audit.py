"""Who did what, when and from where: ids only, appended and never changed.

A store call that changes something which has to be accounted for takes an `Act` and writes the row in its own
transaction: there is no fact without its row, and no row without its fact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from shared.clock import now_ms
from shared.store.connection import Database
from shared.store.tables import audit

OPERATOR = "operator"  # whoever runs commands on the host
PAGE_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is about to be done.

    owner:   id of the user who does it, or OPERATOR
    action:  the method, or the command of an operator
    door:    "websocket", "http" or "host"
    address: where the request came from
    key_id:  of the API key that it came with
    detail:  one word such as the decision of an approval, never content
    """

    owner: str
    action: str
    door: str
    address: str | None = None
    key_id: str | None = None
    detail: str | None = None

    @classmethod
    def of_operator(cls, action: str, address: str | None = None) -> Act:
        """What the host's commands do, and what the configuration makes the server do by itself."""
        return cls(OPERATOR, action, "host", address)

    def with_detail(self, detail: str) -> Act:
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
    door: str | None
    address: str | None
    key_id: str | None


def write(
    connection: Connection, act: Act | None, *, thread_id: str | None = None, subject_id: str | None = None
) -> None:
    """A row in the transaction of the fact. act None: the fact is nobody's, such as one of a test or of the sweep."""
    if act is not None:
        values = {name: getattr(act, name) for name in Act.__dataclass_fields__}
        connection.execute(insert(audit).values(**values, at_ms=now_ms(), thread_id=thread_id, subject_id=subject_id))


class Audit:
    """The audit table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, act: Act, *, thread_id: str | None = None, subject_id: str | None = None) -> None:
        """A row of its own, for what changes nothing in the store."""
        with self._database.write() as connection:
            write(connection, act, thread_id=thread_id, subject_id=subject_id)

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
        """Rows beyond after_id, oldest first. None: no condition."""
        query = select(audit).where(audit.c.id > after_id, audit.c.at_ms >= since_ms)
        for column, wanted in ((audit.c.owner, owner), (audit.c.thread_id, thread_id), (audit.c.action, action)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._database.read() as connection:
            found: list[Any] = list(connection.execute(query.order_by(audit.c.id).limit(limit)))
        return [Row(**row._mapping) for row in found]

    def all_users_forget(self, before_ms: int) -> int:
        """Remove rows that are older than a time; how many. The one way that a row goes: `[retention] audit_days`."""
        with self._database.write() as connection:
            return connection.execute(delete(audit).where(audit.c.at_ms < before_ms)).rowcount
