"""What the journal commits: the writes of many turns in one transaction, each fenced by its turn's claim.

The writes of a turn whose claim is lost are left out entirely; the others commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from shared.event_names import parse_key
from shared.protocol.thread import GitInfo
from shared.protocol.token_usage import ThreadTokenUsage
from shared.protocol.turn import TurnError
from shared.store import items as item_rows
from shared.store import terminals as terminal_rows
from shared.store import usage
from shared.store.connection import DEFERRED, Database
from shared.store.items import Item
from shared.store.outbox import Outbox
from shared.store.tables import approvals, items, threads, turns
from shared.store.terminals import Terminal
from shared.store.turns import Claim
from shared.store.turns import rows as turn_rows
from shared.store.turns.claims import lock_claimed
from shared.store.turns.ending import end as end_turn
from shared.store.usage import Spent

_THREAD_BY_ID = update(threads).where(threads.c.id == bindparam("of")).execution_options(**DEFERRED)
_TURN_BY_ID = update(turns).where(turns.c.id == bindparam("of")).execution_options(**DEFERRED)
_RAISED = [
    update(table)
    .where(table.c.id == bindparam("of"), table.c.published_state < bindparam("level"))
    .values(published_state=bindparam("level"))
    .execution_options(**DEFERRED)
    for table in (turns, items, approvals)
]


@dataclass(frozen=True, slots=True)
class End:
    """The end of a turn, at a time in Unix ms. It is refused while there is pending input.

    terminals: the turn's commands that run on
    lease_ms:  for which its worker holds them
    """

    status: str
    at_ms: int
    error: TurnError | None = None
    terminals: Sequence[Terminal] = ()
    lease_ms: int = 0


@dataclass(slots=True)
class Write:
    """What one turn stores together.

    append:   new rows of the log
    change:   (item id, columns): a call that begins, gets its output or ends
    read:     (pending input id, item id): input of the turn that was not read yet, and the item that it became
    usage:    the thread's new tokenUsage
    spent:    what a model call took, which counts against the user's budget
    settles:  whether this ends the turn's reservation of tokens
    reported: terminals whose end the model reads with this write, as the item ids of their commands
    git_info: of the thread; stored only when the thread has none
    end:      the last write of a turn
    """

    claim: Claim
    append: list[Item] = field(default_factory=list)
    change: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    read: list[tuple[int, str]] = field(default_factory=list)
    usage: ThreadTokenUsage | None = None
    spent: Spent | None = None
    settles: bool = False
    reported: Sequence[str] = ()
    git_info: GitInfo | None = None
    end: End | None = None


@dataclass(slots=True)
class Published:
    """What was published: id → published_state (1: started or requested, 2: ended or resolved).

    Events that are published stay published, so these writes are fenced by no claim.
    """

    items: dict[str, int] = field(default_factory=dict)
    turns: dict[str, int] = field(default_factory=dict)
    requests: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.items or self.turns or self.requests)

    def note(self, key: str) -> None:
        """Record that the event with this key was published (shared.event_names)."""
        event = parse_key(key)
        if event.kind == "request":
            request_id = int(event.record_id)
            self.requests[request_id] = 2 if event.stage == "resolved" else max(1, self.requests.get(request_id, 0))
        elif event.stage in ("started", "completed"):
            levels = self.items if event.kind == "item" else self.turns
            levels[event.record_id] = 2 if event.stage == "completed" else max(1, levels.get(event.record_id, 0))

    def add(self, other: Published) -> None:
        """Add what another object has recorded."""
        for mine, theirs in ((self.items, other.items), (self.turns, other.turns)):
            for key, level in theirs.items():
                mine[key] = max(level, mine.get(key, 0))
        for request_id, level in other.requests.items():
            self.requests[request_id] = max(level, self.requests.get(request_id, 0))


def commit(
    database: Database, outbox: Outbox, writes: Sequence[Write], published: Published, *, repeated: bool = False
) -> list[str]:
    """Store all of it in one transaction.

    repeated: an outage hid the outcome of an earlier attempt, so that some of the writes may be stored already
    Returns: for each write "ok", "lost" (the claim is lost; nothing of the write was stored) or "unread" (the end was
             refused because of pending input; the rest was stored)
    Errors:  sqlalchemy.exc.DBAPIError; nothing was stored
    """
    with database.write() as connection:
        # Whoever deletes turns locks them first, by id, and then their items; so does this. A turn that ends is locked
        # before its unread input is counted. SQLite has one writer.
        if not database.is_sqlite and (published.turns or any(write.end for write in writes)):
            turn_rows.lock(connection, [*published.turns, *(write.claim.turn_id for write in writes)])
        unread = lock_claimed(connection, [write.claim for write in writes]) if writes else {}
        stored = _find_stored(connection, writes) if repeated else [False] * len(writes)
        results = []
        for write, is_stored in zip(writes, stored, strict=True):
            claimed = (write.claim.turn_id, write.claim.claim_no)
            if is_stored or claimed not in unread:
                results.append("ok" if is_stored else "lost")
                continue
            unread[claimed] -= len(write.read)
            results.append(_store(database, connection, outbox, write, has_unread=unread[claimed] > 0))
        marks: tuple[Mapping[Any, int], ...] = (published.turns, published.items, published.requests)
        for raised, levels in zip(_RAISED, marks, strict=True):
            if levels:
                connection.execute(raised, [{"of": key, "level": level} for key, level in sorted(levels.items())])
        spent = [
            (write.claim.owner, write.spent)
            for write, result, is_stored in zip(writes, results, stored, strict=True)
            if write.spent and result != "lost" and not is_stored
        ]
        if spent:
            usage.add(connection, spent)
    return results


def _find_stored(connection: Connection, writes: Sequence[Write]) -> list[bool]:
    """Return for each write whether an earlier attempt has stored it. One that only changes rows may be repeated."""
    appended = [row.id for write in writes for row in write.append]
    known = set(connection.scalars(select(items.c.id).where(items.c.id.in_(appended)))) if appended else set()
    of_turns = select(turns.c.id, turns.c.completed_at_ms, turns.c.reserved_tokens)
    found = connection.execute(of_turns.where(turns.c.id.in_([write.claim.turn_id for write in writes]))).all()
    by_turn = {row.id: row for row in found}
    ends = {(write.claim.turn_id, write.claim.claim_no): write.end.at_ms for write in writes if write.end is not None}

    def is_stored(write: Write) -> bool:
        row = by_turn.get(write.claim.turn_id)
        if row is None:  # the thread was deleted
            return False
        if row.completed_at_ms is not None and row.completed_at_ms == ends.get((row.id, write.claim.claim_no)):
            return True  # the end is the last write of its claim
        if write.append:
            return write.append[0].id in known
        return write.settles and row.reserved_tokens is None

    return [is_stored(write) for write in writes]


def _store(database: Database, connection: Connection, outbox: Outbox, write: Write, *, has_unread: bool) -> str:
    claim = write.claim
    if write.append:
        item_rows.append(connection, write.append)
    for item_id, values in write.change:
        item_rows.change(connection, item_id, values)
    for pending_input_id, item_id in write.read:
        turn_rows.consume_pending_input(connection, pending_input_id, item_id)
    # A model may repeat a call that kills its worker, whatever it does in between, so lost calls are never forgotten.
    lost_calls = claim.turn.options.get("lostCalls", 0)
    if claim.lost_attempts > lost_calls and (write.append or write.change):
        connection.execute(update(turns).where(turns.c.id == claim.turn_id).values(lost_attempts=lost_calls))
    of_turn: dict[str, Any] = {}
    if write.usage is not None:
        of_turn["token_usage"] = write.usage
        connection.execute(_THREAD_BY_ID, {"of": claim.thread_id, "token_usage": write.usage})
    if write.git_info is not None:
        unknown = update(threads).where(threads.c.id == claim.thread_id, threads.c.git_info.is_(None))
        connection.execute(unknown.values(git_info=write.git_info))
    if write.reported:
        terminal_rows.mark_reported(connection, write.reported)
    if write.settles:
        of_turn["reserved_tokens"] = None
    if of_turn:
        connection.execute(_TURN_BY_ID, {"of": claim.turn_id, **of_turn})
    if write.end is not None:
        if has_unread:
            return "unread"
        end = write.end
        end_turn(connection, outbox, claim.turn, end.status, end.error, end.at_ms)
        terminal_rows.add(connection, end.terminals, database.now_ms() + end.lease_ms)
    return "ok"
