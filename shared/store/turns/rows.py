"""Rows of turns and pending inputs: the statements that several moves share. All run in the caller's transaction.

The statements of the hot path are built once, at import.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, literal_column, select, update
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.store.column_types import Json
from shared.store.connection import DEFERRED
from shared.store.tables import pending_inputs, threads, turns
from shared.store.turns import PendingInput, Turn

# Literal, and not bound parameters, so that the partial indexes fit.
QUEUED: ColumnElement[str] = literal_column("'queued'")
RUNNING: ColumnElement[str] = literal_column("'running'")
NOT_DONE: ColumnElement[bool] = turns.c.phase != literal_column("'done'")

_COLUMNS = tuple(Turn.__dataclass_fields__)
# For lists: options may have a large JSON Schema, which no client reads back.
LISTED = tuple(literal_column("'{}'", Json).label(name) if name == "options" else turns.c[name] for name in _COLUMNS)
_LOCKED = (
    select(turns.c.id)
    .where(turns.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(turns.c.id)
    .with_for_update()
    .execution_options(**DEFERRED)
)
LOCKED_ACTIVE = (
    select(turns)
    .where(turns.c.thread_id == bindparam("of"), turns.c.owner == bindparam("owner"), NOT_DONE)
    .with_for_update()
)
_PENDING_INPUT_BY_ID = (
    update(pending_inputs).where(pending_inputs.c.id == bindparam("of")).execution_options(**DEFERRED)
)
_RAISED_CLAIM_NO = (
    update(threads)
    .where(threads.c.id == bindparam("of"))
    .values(claim_no=threads.c.claim_no + 1)
    .returning(threads.c.claim_no)
)
_CLAIM_NO = update(threads).where(threads.c.id == bindparam("of")).execution_options(**DEFERRED)
_UNREAD = (
    select(pending_inputs)
    .where(pending_inputs.c.turn_id == bindparam("of"), pending_inputs.c.item_id.is_(None))
    .order_by(pending_inputs.c.id)
)


def from_row(row: Row[Any]) -> Turn:
    mapping = row._mapping
    return Turn(**{name: mapping[name] for name in _COLUMNS})


def columns(turn: Turn) -> dict[str, Any]:
    """Return the columns of a row for a new turn."""
    return {**{name: getattr(turn, name) for name in _COLUMNS}, "queued_at_ms": turn.created_at_ms}


def get(connection: Connection, turn_id: str) -> Turn:
    """Return a turn that is known to be there."""
    return from_row(connection.execute(select(turns).where(turns.c.id == turn_id)).one())


def read(connection: Connection, *conditions: ColumnElement[bool]) -> list[Turn]:
    """Return turns in the order in which they were created."""
    return [from_row(row) for row in connection.execute(select(turns).where(*conditions).order_by(turns.c.id))]


def lock(connection: Connection, turn_ids: Collection[str]) -> None:
    """Lock turns, whoever holds their claims, until the transaction ends."""
    connection.execute(_LOCKED, {"ids": list(turn_ids)})


def lock_active(connection: Connection, thread_id: str, owner: str) -> Turn | None:
    """Lock the turn of the thread that is not done; None: there is none."""
    row = connection.execute(LOCKED_ACTIVE, {"of": thread_id, "owner": owner}).first()
    return None if row is None else from_row(row)


def leave_running(connection: Connection, turn_id: str, phase: str, **values: Any) -> None:
    """Move a turn whose row is locked to "queued" or "parked", without a claim's holder."""
    cleared = {"claimed_by": None, "lease_until_ms": None, "queued_at_ms": now_ms()}
    connection.execute(update(turns).where(turns.c.id == turn_id).values(phase=phase, **cleared, **values))


def raise_claim_no(connection: Connection, thread_id: str) -> int:
    """Return the thread's next claim number: from now on no earlier claim may write."""
    return int(connection.execute(_RAISED_CLAIM_NO, {"of": thread_id}).scalar_one())


def set_claim_no(connection: Connection, thread_id: str, claim_no: int) -> None:
    """Store the thread's next claim number, which is larger by one. The row is locked."""
    connection.execute(_CLAIM_NO, {"of": thread_id, "claim_no": claim_no})


def read_pending_inputs(connection: Connection, turn_id: str) -> list[PendingInput]:
    """Return the input that the turn has not read, oldest first."""
    return [PendingInput(row.id, row.input, row.client_id) for row in connection.execute(_UNREAD, {"of": turn_id})]


def consume_pending_input(connection: Connection, pending_input_id: int, item_id: str) -> None:
    """Mark input as read. item_id: of the item that it became."""
    connection.execute(_PENDING_INPUT_BY_ID, {"of": pending_input_id, "item_id": item_id})
