"""The timeline of one turn, for operators: what was stored of it and when, without content of users or models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from shared.protocol.auto_review import METHOD as REVIEW
from shared.protocol.turn import error_kind
from shared.store.connection import Database
from shared.store.tables import approvals, items, turns
from shared.store.turns import Turn, rows

MAX_ITEMS = 2000
DECISIONS = ("accept", "acceptForSession", "decline", "cancel")  # a client may send anything
KINDS = {
    *("userMessage", "agentMessage", "plan", "reasoning", "commandExecution", "fileChange", "mcpToolCall", "webSearch"),
    *("dynamicToolCall", "imageView", "enteredReviewMode", "exitedReviewMode", "contextCompaction", "hookPrompt"),
    *("context", "call", "injected", "answer"),
}  # an imported thread may have others


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened to a turn. at_ms: Unix ms, by the clock of the process that stored it."""

    at_ms: int
    what: str


def read_timeline(database: Database, turn_id: str) -> tuple[Turn, list[Moment]] | None:
    """Return a turn of any user and its timeline, oldest moment first; None: there is no such turn.

    It has the first MAX_ITEMS items of the turn.
    """
    times = select(items.c.kind, items.c.started_at_ms, items.c.begun_at_ms, items.c.completed_at_ms)
    with database.read() as connection:
        row = connection.execute(select(turns).where(turns.c.id == turn_id)).first()
        if row is None:
            return None
        turn = rows.from_row(row)
        moments = list(_beginning(turn, row.claimed_at_ms))
        of_turn = times.where(items.c.turn_id == turn_id).order_by(items.c.position).limit(MAX_ITEMS)
        for item in connection.execute(of_turn):
            moments += _of_item(item._mapping)
        asked = select(approvals).where(approvals.c.thread_id == turn.thread_id, approvals.c.turn_id == turn_id)
        for approval in connection.execute(asked):
            moments += _of_approval(approval._mapping)
    moments += _end(turn)
    return turn, sorted(moments, key=lambda moment: moment.at_ms)


def _beginning(turn: Turn, claimed_at_ms: int | None) -> Iterator[Moment]:
    """Yield how the turn began, and its last claim; the log lines have the claims between these."""
    yield Moment(turn.created_at_ms, "queued")
    if turn.started_at_ms is not None:
        yield Moment(turn.started_at_ms, "claimed for the first time")
    if claimed_at_ms is not None and turn.claim_no > 1:
        yield Moment(claimed_at_ms, f"claimed for the last time, claim {turn.claim_no}")


def _end(turn: Turn) -> Iterator[Moment]:
    if turn.completed_at_ms is not None:
        error = f": {error_kind(turn.error['codexErrorInfo'])}" if turn.error else ""
        yield Moment(turn.completed_at_ms, f"{turn.status}{error}")


def _of_item(item: Mapping[Any, Any]) -> Iterator[Moment]:
    kind = item["kind"] if item["kind"] in KINDS else "an item"
    if item["begun_at_ms"] is not None:
        yield Moment(item["begun_at_ms"], f"{kind} began")
    elif item["started_at_ms"] is not None and item["started_at_ms"] != item["completed_at_ms"]:
        yield Moment(item["started_at_ms"], f"{kind} started")
    if item["completed_at_ms"] is not None:
        yield Moment(item["completed_at_ms"], f"{kind} completed")


def _of_approval(approval: Mapping[Any, Any]) -> Iterator[Moment]:
    if approval["method"] == REVIEW:
        yield Moment(approval["answered_at_ms"], "reviewed automatically")
        return
    yield Moment(approval["created_at_ms"], f"parked for an answer to {approval['method']}")
    if approval["answered_at_ms"] is not None:
        answer = approval["answer"] if isinstance(approval["answer"], dict) else {}
        decision = answer.get("decision")
        known = decision if decision in DECISIONS else "with an answer of its own"
        yield Moment(approval["answered_at_ms"], f"answered: {known}")
