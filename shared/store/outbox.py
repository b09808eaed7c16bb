"""The outbox: messages for webhooks and the notify program, each written in the transaction of what it reports.

    webhook  pending → delivered | dead; sent at least once: a message whose worker died is due again
    notify   pending → begun → delivered | dead; begun at most once: "begun" is stored before the program starts

Rows belong to the operator, not to a user. They hold ids and no content. Leases and due times are on the database's
clock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, Text, and_, delete, func, insert, or_, select, type_coerce, update
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.config.webhooks import NOTIFY
from shared.ids import new_id
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.tables import outbox

STATES = ("pending", "begun", "delivered", "dead")
MAX_ERROR_CHARACTERS = 300
MAX_COUNTED = 10_000  # undelivered messages of one state
MAX_LOOKED_AT = 5000  # due messages of a target among which one about another user is looked for
DAY_MS = 86_400_000
UNTRIED_FOR_MS = 3 * DAY_MS  # a message due for this long is dead: its webhook is not configured any more
KEPT_FOR_MS = {"delivered": 7 * DAY_MS, "begun": 7 * DAY_MS, "dead": 30 * DAY_MS}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message for one target.

    id:       the same in every attempt
    attempts: how many have begun so far
    """

    id: str
    target: str
    event: str
    data: Mapping[str, Any]
    created_at_ms: int
    state: str
    attempts: int
    due_at_ms: int
    changed_at_ms: int
    error: str | None


class Outbox:
    """The outbox table. listeners: event → targets; for other events nothing is stored."""

    def __init__(self, database: Database, listeners: Mapping[str, Sequence[str]]) -> None:
        self._database = database
        self._listeners = listeners
        self.targets = tuple(dict.fromkeys(target for targets in listeners.values() for target in targets))

    def wants(self, event: str) -> bool:
        """Return whether the event has targets."""
        return event in self._listeners

    def add(self, connection: Connection, event: str, data: Mapping[str, object]) -> None:
        """Add a message for each target of the event, in the transaction of what it reports.

        event: one of shared.config.webhooks.EVENTS; data: ids such as {"threadId", "turnId", "userId"}, never content
        """
        at_ms = now_ms()
        rows = [
            {
                "id": new_id(),
                "target": target,
                "event": event,
                "data": data,
                "created_at_ms": at_ms,
                "state": "pending",
                "attempts": 0,
                "changed_at_ms": at_ms,
            }
            for target in self._listeners.get(event, ())
        ]
        if rows:
            connection.execute(insert(outbox).values(due_at_ms=self._database.now_ms()), rows)

    # -- what workers do

    def claim(self, *, lease_ms: int, at_once: int) -> Outgoing | None:
        """Claim a due message of the target with the fewest attempts under way. None: nothing is due.

        It is the oldest one about a user of whom no attempt for that target is under way, or else the oldest one: the
        many messages about one user do not delay those about others.

        lease_ms: after which another worker may try, unless this attempt is settled
        at_once:  about how many attempts of one target may be under way: a slow target does not delay the others
        """
        for target in self._free_targets(at_once):
            with self._database.write() as connection:
                busy_users = self._under_way(connection).get(target, [])
                row = None
                if len(busy_users) < at_once:
                    for users in dict.fromkeys((frozenset(busy_users), frozenset())):
                        due = self._due(target, without=users)
                        row = row or connection.execute(due.with_for_update(skip_locked=True)).first()
                if row is None:
                    continue  # another worker was faster
                until_ms = self._database.now_ms() + lease_ms
                claimed = update(outbox).where(outbox.c.id == row.id).values(
                    state="begun" if target == NOTIFY else "pending",
                    attempts=row.attempts + 1,
                    due_at_ms=until_ms,
                    lease_until_ms=until_ms,
                    changed_at_ms=now_ms(),
                )  # fmt: skip
                return _from_row(connection.execute(claimed.returning(outbox)).one())
        return None

    def _free_targets(self, at_once: int) -> list[str]:
        """Return targets with a due message and less than at_once attempts under way, the least busy ones first."""
        if not self.targets:
            return []
        with self._database.read() as connection:
            busy = self._under_way(connection)
            free = [target for target in self.targets if len(busy.get(target, ())) < at_once]
            due = [target for target in free if connection.execute(self._due(target)).first() is not None]
        return sorted(due, key=lambda target: len(busy.get(target, ())))

    def _under_way(self, connection: Connection) -> dict[str, list[Any]]:
        """Return target → the users whom the attempts under way are about."""
        leased = select(outbox.c.target, outbox.c.data).where(outbox.c.lease_until_ms > self._database.now_ms())
        found: dict[str, list[Any]] = {}
        for target, data in connection.execute(leased):
            found.setdefault(target, []).append(data.get("userId"))
        return found

    def _due(self, target: str, *, without: Collection[Any] = ()) -> Any:
        """Return the query for the oldest due message. without: users whom it may not be about."""
        due = and_(
            outbox.c.target == target, outbox.c.state == "pending", outbox.c.due_at_ms <= self._database.now_ms()
        )
        oldest = select(outbox).where(due).order_by(outbox.c.due_at_ms, outbox.c.id)
        if not without:
            return oldest.limit(1)
        looked_at = oldest.limit(MAX_LOOKED_AT).with_only_columns(outbox.c.id)
        data = type_coerce(outbox.c.data, Text)  # compact JSON; in a text value, its quotes would be escaped
        others = (~data.contains(f'"userId":{orjson.dumps(user).decode()}', autoescape=True) for user in without)
        return oldest.where(outbox.c.id.in_(looked_at), *others).limit(1)

    def count_due(self, at_most: int) -> int:
        """Return how many messages of configured targets are due, counted up to at_most."""
        if not self.targets:
            return 0
        pending = and_(outbox.c.state == "pending", outbox.c.due_at_ms <= self._database.now_ms())
        due = select(outbox.c.id).where(outbox.c.target.in_(self.targets), pending).limit(at_most)
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).select_from(due.subquery())) or 0

    def settle(self, of: Outgoing, error: str | None, retry_in_ms: int | None = None) -> None:
        """Store the end of an attempt. An attempt that another worker has replaced changes nothing.

        error:       None: the message is delivered
        retry_in_ms: after which it is due again; None: it is dead
        """
        values: dict[str, Any] = {"lease_until_ms": None, "changed_at_ms": now_ms()}
        values["error"] = None if error is None else error[:MAX_ERROR_CHARACTERS]
        if error is None:
            values["state"] = "delivered"
        elif retry_in_ms is None:
            values["state"] = "dead"
        else:
            values["due_at_ms"] = self._database.now_ms() + retry_in_ms
        mine = and_(outbox.c.id == of.id, outbox.c.attempts == of.attempts, outbox.c.state == of.state)
        with self._database.write() as connection:
            connection.execute(update(outbox).where(mine).values(values))

    def sweep(self) -> int:
        """Mark messages as dead that nobody tries any more, and delete old ones. Returns how many were deleted."""
        at_ms = now_ms()
        left = and_(outbox.c.state == "pending", outbox.c.due_at_ms < self._database.now_ms() - UNTRIED_FOR_MS)
        why = "not tried in 3 days: no worker has a webhook with this URL"
        over = or_(
            *(and_(outbox.c.state == state, outbox.c.changed_at_ms < at_ms - ms) for state, ms in KEPT_FOR_MS.items())
        )
        with self._database.write() as connection:
            connection.execute(update(outbox).where(left).values(state="dead", error=why, changed_at_ms=at_ms))
            return connection.execute(delete(outbox).where(over)).rowcount

    # -- what operators do

    def undelivered(self) -> dict[str, tuple[int, int]]:
        """Return, of pending and dead messages, state → (how many, how many ms ago the oldest was added).

        Of each state at most MAX_COUNTED are looked at: those that have not changed for longest.
        """
        found = {}
        with self._database.read() as connection:
            for state in ("pending", "dead"):
                of_state = select(outbox.c.created_at_ms).where(outbox.c.state == state)
                counted = of_state.order_by(outbox.c.changed_at_ms).limit(MAX_COUNTED).subquery()
                query = select(func.count(), func.min(counted.c.created_at_ms)).select_from(counted)
                count, since = connection.execute(query).one()
                if count:
                    found[state] = (count, max(0, now_ms() - since))
        return found

    def list_webhooks(self, states: Sequence[str], limit: int, before: str | None = None) -> list[Outgoing]:
        """Return messages for webhooks, newest first. before: the last id of the previous page."""
        query = select(outbox).where(outbox.c.target != NOTIFY, outbox.c.state.in_(states))
        if before is not None:
            query = query.where(outbox.c.id < before)
        with self._database.read() as connection:
            found = connection.execute(query.order_by(outbox.c.id.desc()).limit(limit))
            return [_from_row(row) for row in found]

    def replay(self, outgoing_id: str, *, audit_entry: AuditEntry | None = None) -> bool:
        """Make a webhook message due again now, under the same id.

        Returns: False when there is no such message, its webhook is not configured any more, or an attempt is under way
        """
        urls = [target for target in self.targets if target != NOTIFY]
        idle = or_(outbox.c.lease_until_ms.is_(None), outbox.c.lease_until_ms < self._database.now_ms())
        again = update(outbox).where(outbox.c.id == outgoing_id, outbox.c.target.in_(urls), idle)
        values = {"state": "pending", "attempts": 0, "error": None, "lease_until_ms": None, "changed_at_ms": now_ms()}
        with self._database.write() as connection:
            changed = connection.execute(again.values(due_at_ms=self._database.now_ms(), **values))
            if changed.rowcount == 1:
                audit.write(connection, audit_entry, subject_id=outgoing_id)
            return changed.rowcount == 1


def _from_row(row: Row[Any]) -> Outgoing:
    return Outgoing(**{name: row._mapping[name] for name in Outgoing.__dataclass_fields__})
