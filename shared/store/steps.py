"""What a step of a turn starts from, read in one transaction. These are the statements of the hot path, built once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, select

from shared.errors import ClaimLost
from shared.store.connection import Database
from shared.store.items import Item, from_row
from shared.store.tables import items, mail, threads, turns, user_limits
from shared.store.turns import Claim, Mail


@dataclass(frozen=True, slots=True)
class Step:
    """The log as a step finds it.

    settings:    the thread's, as they are now
    usage:       the thread's tokenUsage, or None
    rows:        all that the model is to see, in order: everything since the last compaction, that one included
    mail:        input that the turn has not read, oldest first
    interrupted: somebody asked the turn to stop
    own_budget:  the user's tokens per day and per month, None where the defaults hold
    """

    settings: dict[str, Any]
    usage: dict[str, Any] | None
    rows: list[Item]
    mail: list[Mail]
    interrupted: bool
    own_budget: tuple[int | None, int | None]


_TURN = (
    select(
        *(threads.c.settings, threads.c.token_usage, turns.c.interrupted),
        *(user_limits.c.tokens_per_day, user_limits.c.tokens_per_month),
    )
    .join(turns, turns.c.thread_id == threads.c.id)
    .outerjoin(user_limits, user_limits.c.owner == turns.c.owner)
    .where(turns.c.id == bindparam("turn_id"))
)
_COMPACTION = select(func.max(items.c.position)).where(
    items.c.thread_id == bindparam("thread_id"), items.c.kind == "contextCompaction", items.c.answered
)
_ROWS = (
    select(items)
    .where(items.c.thread_id == bindparam("thread_id"), items.c.position >= bindparam("first"))
    .order_by(items.c.position)
)
_MAIL = select(mail).where(mail.c.turn_id == bindparam("turn_id"), mail.c.item_id.is_(None)).order_by(mail.c.id)


def read_step(database: Database, claim: Claim) -> Step:
    """For the worker that holds the turn. Errors: ClaimLost (the thread was deleted)."""
    ids = {"turn_id": claim.turn_id, "thread_id": claim.thread_id}
    with database.read() as connection:
        turn = connection.execute(_TURN, ids).first()
        if turn is None:
            raise ClaimLost("the thread was deleted")
        first = connection.scalar(_COMPACTION, ids) or 0
        rows = [from_row(row) for row in connection.execute(_ROWS, {**ids, "first": first})]
        letters = [Mail(row.id, row.input, row.client_id) for row in connection.execute(_MAIL, ids)]
    return Step(
        turn.settings, turn.token_usage, rows, letters, turn.interrupted, (turn.tokens_per_day, turn.tokens_per_month)
    )
