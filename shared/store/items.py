"""Items: the log of a thread, as clients see it and as the model sees it, in one order.

Rows are appended or completed, never rewritten: a row changes only when its call begins, gets its output or ends,
when its events are published, or when a model's provider refuses what the model sees of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, takewhile
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from shared.protocol.hooks import HookNotes
from shared.protocol.items import ToolItem
from shared.protocol.model_items import OpenCall
from shared.store.column_types import Json
from shared.store.connection import DEFERRED, Database
from shared.store.tables import items, threads


@dataclass(slots=True)
class Item:
    """One row of a thread's log. It is never changed, only replaced.

    Not frozen: Python takes twenty times as long to make a frozen one, and a step makes one of each row.

    kind:            the item's type; "context", "call" and "injected" for rows that only the model sees; "answer" for
                     a row without content: the model completed its answer here and called no tool
    item:            the protocol's object (ThreadItem, or of an unknown kind in an imported thread) without id and
                     times; None: clients do not see the row
    model_items:     Responses-API items of the history (ModelItem); a tool call first, its output after it
    answered:        False for a tool call that has no output yet
    started_at_ms:   when item/started was made
    begun_at_ms:     the tool ledger: when the tool began; a call that has begun is never begun again
    published_state: 1 when item/started is published, 2 when item/completed is
    hooks:           what hooks have decided about it; None: nothing
    """

    id: str
    thread_id: str
    turn_id: str
    position: int
    kind: str
    item: Mapping[str, Any] | None = None
    model_items: Sequence[Mapping[str, Any]] = field(default_factory=list)
    call_id: str | None = None
    answered: bool = True
    started_at_ms: int | None = None
    begun_at_ms: int | None = None
    completed_at_ms: int | None = None
    published_state: int = 0
    hooks: HookNotes | None = None

    def wire(self) -> Mapping[str, object]:
        """Return the item as clients see it (PROTOCOL 3.3)."""
        assert self.item is not None
        return {
            "type": self.kind,
            **self.item,
            "id": self.id,
            "startedAtMs": self.started_at_ms,
            "completedAtMs": self.completed_at_ms,
        }

    @property
    def open_call(self) -> OpenCall:
        """The tool call of a row that is not answered."""
        return cast(OpenCall, self.model_items[0])

    @property
    def tool_item(self) -> ToolItem | None:
        """The item of a row with a tool call; None: clients do not see the call."""
        return cast(ToolItem | None, self.item)


COLUMNS = tuple(Item.__dataclass_fields__)
SELECTED = tuple(items.c[name] for name in COLUMNS)  # for `from_row`
# The same without what only the model sees, which is as large as the rest.
_SHOWN = tuple(literal_column("'[]'", Json) if name == "model_items" else items.c[name] for name in COLUMNS)


class Items:
    """The items table, for reading; rows are written by shared.store.writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_position(self, thread_id: str) -> int:
        with self._database.read() as connection:
            return last_position(connection, thread_id)

    def of_turn(self, turn_id: str) -> list[Item]:
        """Return all rows of a turn, in order."""
        with self._database.read() as connection:
            return read(connection, items.c.turn_id == turn_id)

    def completed(
        self, thread_id: str, owner: str, turn_ids: Sequence[str], *, summary: bool = False
    ) -> dict[str, list[Item]]:
        """Return turn id → its completed items that clients see, in order. Another user's thread has none.

        summary: only the user's first message and the agent's last one (PROTOCOL 3.2)
        """
        found: dict[str, list[Item]] = {}
        with self._database.read() as connection:
            query = _of_turns(select(*_SHOWN), thread_id, owner, turn_ids, summary).order_by(items.c.position)
            for row in connection.execute(query):
                found.setdefault(row.turn_id, []).append(from_row(row))
        return found

    def sizes(self, thread_id: str, owner: str, turn_ids: Sequence[str], *, summary: bool = False) -> dict[str, int]:
        """Return turn id → the bytes of what `completed` returns of it; not the turns of which it returns nothing."""
        measured = select(items.c.turn_id, func.sum(Bytes(items.c.item)))
        with self._database.read() as connection:
            query = _of_turns(measured, thread_id, owner, turn_ids, summary).group_by(items.c.turn_id)
            return {row[0]: int(row[1]) for row in connection.execute(query)}

    def find_position(self, thread_id: str, owner: str, turn_id: str, item_id: str) -> int | None:
        """Return the position of a completed item of a turn; None: the turn has no such item."""
        query = _of_turns(select(items.c.position), thread_id, owner, [turn_id]).where(items.c.id == item_id)
        with self._database.read() as connection:
            found: int | None = connection.scalar(query)
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
        limit_bytes: int,
    ) -> tuple[list[Item], bool]:
        """Return completed items by position, beyond `after` (inclusive: from `after` on), and whether there are more.

        limit, limit_bytes: what they may be together; the first item is returned, however large it is
        """
        measured = _completed(select(items.c.position, Bytes(items.c.item)), thread_id, owner)
        if turn_id is not None:
            measured = measured.where(items.c.turn_id == turn_id)
        if after is not None:
            edge = after + (1 if descending else -1) * inclusive
            measured = measured.where(items.c.position < edge if descending else items.c.position > edge)
        order = items.c.position.desc() if descending else items.c.position.asc()
        with self._database.read() as connection:
            found = connection.execute(measured.order_by(order).limit(limit + 1)).all()
            count = max(1, count_fitting((size for _, size in found[:limit]), limit_bytes))
            positions = [position for position, _ in found[:count]]
            query = select(*_SHOWN).where(items.c.thread_id == thread_id, items.c.position.in_(positions))
            return [from_row(row) for row in connection.execute(query.order_by(order))], len(found) > count


def count_fitting(sizes: Iterable[int], limit_bytes: int) -> int:
    """Return how many of the first sizes fit into limit_bytes together."""
    return sum(1 for _ in takewhile(lambda total: total <= limit_bytes, accumulate(sizes)))


def _completed(query: Select[Any], thread_id: str, owner: str) -> Select[Any]:
    return (
        query.join(threads, threads.c.id == items.c.thread_id)
        .where(threads.c.owner == owner, items.c.thread_id == thread_id)
        .where(items.c.item.is_not(None), items.c.completed_at_ms.is_not(None))
    )


def _of_turns(
    query: Select[Any], thread_id: str, owner: str, turn_ids: Sequence[str], summary: bool = False
) -> Select[Any]:
    query = _completed(query, thread_id, owner).where(items.c.turn_id.in_(turn_ids))
    if not summary:
        return query
    one = items.alias()
    done = (one.c.turn_id.in_(turn_ids), one.c.item.is_not(None), one.c.completed_at_ms.is_not(None))
    first = select(func.min(one.c.position)).where(*done, one.c.kind == "userMessage").group_by(one.c.turn_id)
    last = select(func.max(one.c.position)).where(*done, one.c.kind == "agentMessage").group_by(one.c.turn_id)
    return query.where(or_(items.c.position.in_(first), items.c.position.in_(last)))


class Bytes(FunctionElement[int]):
    """The size of a text in bytes, on either database."""

    type = BigInteger()
    inherit_cache = True


@compiles(Bytes)
def _octet_length(element: Bytes, compiler: Any, **options: Any) -> str:
    return f"octet_length({compiler.process(element.clauses, **options)})"


@compiles(Bytes, "sqlite")
def _length_of_blob(element: Bytes, compiler: Any, **options: Any) -> str:
    return f"length(CAST({compiler.process(element.clauses, **options)} AS BLOB))"


# The size in bytes of the contents of the selected rows.
SIZE = func.coalesce(func.sum(func.coalesce(Bytes(items.c.item), 0) + Bytes(items.c.model_items)), 0)

_INSERT = insert(items).execution_options(**DEFERRED)
_BY_ID = update(items).where(items.c.id == bindparam("of")).execution_options(**DEFERRED)


def read(connection: Connection, *conditions: ColumnElement[bool]) -> list[Item]:
    query = select(*SELECTED).where(*conditions).order_by(items.c.position)
    return [from_row(row) for row in connection.execute(query)]


def last_position(connection: Connection, thread_id: str) -> int:
    return connection.scalar(select(func.max(items.c.position)).where(items.c.thread_id == thread_id)) or 0


def append(connection: Connection, rows: Sequence[Item]) -> None:
    connection.execute(_INSERT, [{name: getattr(row, name) for name in COLUMNS} for row in rows])


def change(connection: Connection, item_id: str, values: dict[str, Any]) -> None:
    connection.execute(_BY_ID, {"of": item_id, **values})


def from_row(row: Sequence[Any]) -> Item:
    """Return the item of a row of SELECTED."""
    return Item(*row)
