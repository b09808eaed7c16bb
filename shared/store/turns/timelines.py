"""The timeline of one turn, for operators: what was stored of it and when, without content of users or models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from shared.store import items as item_rows
from shared.store.connection import Database
from shared.store.items import Item
from shared.store.tables import approvals, items, turns
from shared.store.turns import Turn, rows


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a turn. at_ms: Unix ms, by the clock of the process that stored it."""

    at_ms: int
    what: str


def read_timeline(database: Database, turn_id: str) -> tuple[Turn, list[Moment]] | None:
    """Return a turn of any user and its timeline, oldest moment first; None: there is no such turn."""
    with database.read() as connection:
        row = connection.execute(select(turns).where(turns.c.id == turn_id)).first()
        if row is None:
            return None
        turn = rows.from_row(row)
        moments = list(_beginning(turn))
        for item in item_rows.read(connection, items.c.turn_id == turn_id):
            moments += _of_item(item)
        for approval in connection.execute(select(approvals).where(approvals.c.turn_id == turn_id)):
            moments += _of_approval(approval._mapping)
    moments += _end(turn)
    return turn, sorted(moments, key=lambda moment: moment.at_ms)


def _beginning(turn: Turn) -> Iterator[Moment]:
    yield Moment(turn.created_at_ms, "queued")
    if turn.started_at_ms is not None:
        yield Moment(turn.started_at_ms, "claimed for the first time")


def _end(turn: Turn) -> Iterator[Moment]:
    if turn.completed_at_ms is not None:
        error = f": {turn.error['message']}" if turn.error else ""
        yield Moment(turn.completed_at_ms, f"{turn.status}{error}")


def _of_item(item: Item) -> Iterator[Moment]:
    name = item.kind
    if item.call_id is not None and item.model_items:
        name = f"{name} ({item.model_items[0].get('name', item.model_items[0].get('type'))})"
    if item.begun_at_ms is not None:
        yield Moment(item.begun_at_ms, f"{name} began")
    elif item.started_at_ms is not None and item.started_at_ms != item.completed_at_ms:
        yield Moment(item.started_at_ms, f"{name} started")
    if item.completed_at_ms is not None:
        facts = item.item or {}
        known = ((key, facts.get(key)) for key in ("status", "exitCode"))
        told = "".join(f", {key} {value}" for key, value in known if value is not None)
        yield Moment(item.completed_at_ms, f"{name} completed{told}")


def _of_approval(approval: Mapping[Any, Any]) -> Iterator[Moment]:
    yield Moment(approval["created_at_ms"], f"parked for an answer to {approval['method']}")
    if approval["answered_at_ms"] is not None:
        answer = approval["answer"] if isinstance(approval["answer"], dict) else {}
        decision = answer.get("decision")
        told = decision if isinstance(decision, str) else "with an answer of its own"
        yield Moment(approval["answered_at_ms"], f"answered: {told}")
