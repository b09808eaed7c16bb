"""What the journal commits: the writes of many turns in one transaction, each turn's behind its claim.

A turn that is not held any more is left out whole; the others commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, update

from shared.store import items as item_rows
from shared.store import turns as turn_moves
from shared.store.connection import Database
from shared.store.items import Item
from shared.store.tables import items, threads, turns
from shared.store.turns import Claim


@dataclass(frozen=True, slots=True)
class End:
    """The turn is over. Refused while input waits that nobody has read."""

    status: str
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class Write:
    """What one turn stores together.

    append:  new rows
    change:  (item id, columns): a call that begins, gets its output, or ends
    read:    (mail id, item id): input that became a userMessage
    usage:   the thread's tokenUsage from now on
    end:     the last thing a turn writes
    """

    claim: Claim
    append: list[Item] = field(default_factory=list)
    change: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    read: list[tuple[int, str]] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    end: End | None = None


def commit(
    database: Database, writes: Sequence[Write], announced_items: dict[str, int], announced_turns: dict[str, int]
) -> list[str]:
    """Store it all in one transaction.

    announced_*: id → level that was published meanwhile; a fact of the past, so behind no claim
    Returns:     for each write "ok", "lost" (the claim; nothing of it was stored) or "unread" (the end was refused,
                 the rest was stored)
    Errors:      sqlalchemy.exc.DBAPIError; nothing was stored
    """
    with database.write() as connection:
        held = turn_moves.held(connection, [write.claim for write in writes]) if writes else set()
        results = [_store(connection, write) if write.claim.turn_id in held else "lost" for write in writes]
        for item_id, level in announced_items.items():
            connection.execute(
                update(items).where(items.c.id == item_id, items.c.announced < level).values(announced=level)
            )
        for turn_id, level in announced_turns.items():
            turn_moves.set_announced(connection, turn_id, level)
    return results


def _store(connection: Connection, write: Write) -> str:
    claim = write.claim
    if write.append:
        item_rows.append(connection, write.append)
    for item_id, values in write.change:
        item_rows.change(connection, item_id, values)
    for mail_id, item_id in write.read:
        turn_moves.take_mail(connection, mail_id, item_id)
    if claim.lost and (write.append or write.change):
        connection.execute(update(turns).where(turns.c.id == claim.turn_id).values(lost=0))
    if write.usage is not None:
        connection.execute(update(threads).where(threads.c.id == claim.thread_id).values(token_usage=write.usage))
    if write.end is not None:
        if turn_moves.has_unread(connection, claim.turn_id):
            return "unread"
        turn_moves.end(connection, claim.turn_id, claim.thread_id, write.end.status, write.end.error)
    return "ok"
