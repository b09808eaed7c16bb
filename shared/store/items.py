"""Items: the log of a thread, as clients see it and as the model sees it, in one order.

Rows are appended or completed, never rewritten: a row changes only when its call begins, gets its output, ends, or is
announced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, bindparam, func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from shared.store.connection import Database
from shared.store.tables import items, threads


@dataclass(frozen=True, slots=True)
class Item:
    """One row of a thread's log.

    kind:        the item's type; "context" and "call" for rows that only the model sees; "answer", which nobody sees,
                 tells that the model said its last word here
    item:        the protocol's object without id and times, or None
    model_items: Responses-API items that history keeps; a tool call first, its output behind it
    answered:    False for a tool call that has no output yet
    started_at_ms: when clients were told of it; begun_at_ms: when its tool began, the ledger
    announced:   1 when item/started is published, 2 when item/completed is
    """

    id: str
    thread_id: str
    turn_id: str
    position: int
    kind: str
    item: dict[str, Any] | None = None
    model_items: list[dict[str, Any]] = field(default_factory=list)
    call_id: str | None = None
    answered: bool = True
    started_at_ms: int | None = None
    begun_at_ms: int | None = None
    completed_at_ms: int | None = None
    announced: int = 0

    def wire(self) -> dict[str, Any]:
        """The item as clients see it (PROTOCOL 3.3)."""
        assert self.item is not None
        return {
            "type": self.kind,
            **self.item,
            "id": self.id,
            "startedAtMs": self.started_at_ms,
            "completedAtMs": self.completed_at_ms,
        }


COLUMNS = tuple(Item.__dataclass_fields__)


class Items:
    """The items table, for reading; rows are written by shared.store.writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def history(self, thread_id: str) -> list[Item]:
        """A thread's whole log, in order."""
        with self._database.read() as connection:
            return read(connection, items.c.thread_id == thread_id)

    def last_position(self, thread_id: str) -> int:
        with self._database.read() as connection:
            return last_position(connection, thread_id)

    def of_turn(self, turn_id: str) -> list[Item]:
        """Everything that a turn stored, in order."""
        with self._database.read() as connection:
            return read(connection, items.c.turn_id == turn_id)

    def completed(self, thread_id: str, owner: str, turn_ids: Sequence[str]) -> dict[str, list[Item]]:
        """What clients see of turns: completed items by turn, in order. Somebody else's thread has none."""
        query = (
            select(items)
            .join(threads, threads.c.id == items.c.thread_id)
            .where(threads.c.owner == owner, items.c.thread_id == thread_id, items.c.turn_id.in_(turn_ids))
            .where(items.c.item.is_not(None), items.c.completed_at_ms.is_not(None))
            .order_by(items.c.position)
        )
        found: dict[str, list[Item]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                found.setdefault(row.turn_id, []).append(from_row(row))
        return found

    def page(
        self,
        thread_id: str,
        owner: str,
        *,
        turn_id: str | None,
        after: int | None,
        inclusive: bool,
        descending: bool,
        limit: int,
    ) -> list[Item]:
        """Completed items by position, beyond `after` (or from it on), at most limit."""
        query = (
            select(items)
            .join(threads, threads.c.id == items.c.thread_id)
            .where(threads.c.owner == owner, items.c.thread_id == thread_id)
            .where(items.c.item.is_not(None), items.c.completed_at_ms.is_not(None))
        )
        if turn_id is not None:
            query = query.where(items.c.turn_id == turn_id)
        if after is not None:
            edge = after + (1 if descending else -1) * inclusive
            query = query.where(items.c.position < edge if descending else items.c.position > edge)
        order = items.c.position.desc() if descending else items.c.position.asc()
        with self._database.read() as connection:
            return [from_row(row) for row in connection.execute(query.order_by(order).limit(limit))]


class _Bytes(FunctionElement[int]):
    """How many bytes a text takes."""

    type = BigInteger()
    inherit_cache = True


@compiles(_Bytes)
def _octet_length(element: _Bytes, compiler: Any, **options: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


@compiles(_Bytes, "sqlite")
def _length_of_blob(element: _Bytes, compiler: Any, **options: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


# Of rows of the log, what their contents take in the database, in bytes.
SIZE = func.coalesce(func.sum(func.coalesce(_Bytes(items.c.item), 0) + _Bytes(items.c.model_items)), 0)

_INSERT = insert(items)
_BY_ID = update(items).where(items.c.id == bindparam("of"))


def read(connection: Connection, *conditions: ColumnElement[bool]) -> list[Item]:
    return [from_row(row) for row in connection.execute(select(items).where(*conditions).order_by(items.c.position))]


def last_position(connection: Connection, thread_id: str) -> int:
    return connection.scalar(select(func.max(items.c.position)).where(items.c.thread_id == thread_id)) or 0


def append(connection: Connection, rows: Sequence[Item]) -> None:
    connection.execute(_INSERT, [{name: getattr(row, name) for name in COLUMNS} for row in rows])


def change(connection: Connection, item_id: str, values: dict[str, Any]) -> None:
    connection.execute(_BY_ID, {"of": item_id, **values})


def from_row(row: Row[Any]) -> Item:
    return Item(**{name: row._mapping[name] for name in COLUMNS})
