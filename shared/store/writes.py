"""What the journal commits: the writes of many turns in one transaction, each turn's behind its claim.

A turn that is not held any more is left out whole; the others commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, update

from shared.store import items as item_rows
from shared.store import turns as turn_moves
from shared.store import usage
from shared.store.connection import Database
from shared.store.items import Item
from shared.store.outbox import Outbox
from shared.store.tables import approvals, items, threads, turns
from shared.store.turns import Claim


@dataclass(frozen=True, slots=True)
class End:
    """The turn is over, at a time in Unix ms. Refused while input waits that nobody has read."""

    status: str
    at_ms: int
    error: dict[str, Any] | None = None


@dataclass(slots=True)
class Write:
    """What one turn stores together.

    append:  new rows
    change:  (item id, columns): a call that begins, gets its output, or ends
    read:    (mail id, item id): input that became a userMessage
    usage:   the thread's tokenUsage from now on
    spent:   tokens that count against the user's budget
    settles: whether the turn's reservation of tokens is over with that
    git_info: of the thread, unless something is known of it already
    end:     the last thing a turn writes
    """

    claim: Claim
    append: list[Item] = field(default_factory=list)
    change: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    read: list[tuple[int, str]] = field(default_factory=list)
    usage: dict[str, Any] | None = None
    spent: int = 0
    settles: bool = False
    git_info: dict[str, Any] | None = None
    end: End | None = None


@dataclass(slots=True)
class Announced:
    """What was published: id → level (1: started or asked, 2: ended or resolved). Facts, so behind no claim."""

    items: dict[str, int] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    requests: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.items or self.turns or self.requests)

    def note(self, key: str) -> None:
        """An event with this key was published (the keys of shared.announcements)."""
        kind, record_id, *what = key.split(":")
        if kind == "request":
            self.requests[int(record_id)] = 2 if what == ["resolved"] else max(1, self.requests.get(int(record_id), 0))
        elif what == ["started"] or what == ["completed"]:
            levels = self.items if kind == "item" else self.turns
            levels[record_id] = 2 if what == ["completed"] else max(1, levels.get(record_id, 0))

    def add(self, other: Announced) -> None:
        """Take over what another one knows."""
        for mine, theirs in ((self.items, other.items), (self.turns, other.turns)):
            for key, level in theirs.items():
                mine[key] = max(level, mine.get(key, 0))
        for request_id, level in other.requests.items():
            self.requests[request_id] = max(level, self.requests.get(request_id, 0))


def commit(database: Database, outbox: Outbox, writes: Sequence[Write], announced: Announced) -> list[str]:
    """Store it all in one transaction.

    Returns:     for each write "ok", "lost" (the claim; nothing of it was stored) or "unread" (the end was refused,
                 the rest was stored)
    Errors:      sqlalchemy.exc.DBAPIError; nothing was stored
    """
    with database.write() as connection:
        if announced.turns:  # who deletes turns locks them first, by id, and then their items: so do we
            turn_moves.lock(connection, [*announced.turns, *(write.claim.turn_id for write in writes)])
        held = turn_moves.held(connection, [write.claim for write in writes]) if writes else set()
        results = [
            _store(connection, outbox, write) if (write.claim.turn_id, write.claim.claim_no) in held else "lost"
            for write in writes
        ]
        for table, levels in ((turns, announced.turns), (items, announced.items), (approvals, announced.requests)):
            if levels:
                raised = update(table).where(table.c.id == bindparam("of"), table.c.announced < bindparam("level"))
                rows = [{"of": key, "level": level} for key, level in sorted(levels.items())]
                connection.execute(raised.values(announced=bindparam("level")), rows)
        spent: Counter[str] = Counter()
        for write, result in zip(writes, results, strict=True):
            if write.spent and result != "lost":
                spent[write.claim.owner] += write.spent
        if spent:
            usage.add(connection, spent)
    return results


def _store(connection: Connection, outbox: Outbox, write: Write) -> str:
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
    if write.git_info is not None:
        unknown = update(threads).where(threads.c.id == claim.thread_id, threads.c.git_info.is_(None))
        connection.execute(unknown.values(git_info=write.git_info))
    if write.settles:
        connection.execute(update(turns).where(turns.c.id == claim.turn_id).values(reserved_tokens=None))
    if write.end is not None:
        if turn_moves.has_unread(connection, claim.turn_id):
            return "unread"
        end = write.end
        turn_moves.end(connection, outbox, claim.turn, end.status, end.error, end.at_ms)
    return "ok"
