"""Questions to a person: stored before they are asked, answered once. Their moves are in shared.store.turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.store.connection import Database
from shared.store.tables import approvals, rules


@dataclass(frozen=True, slots=True)
class Approval:
    """One server request (PROTOCOL section 8). id is the request id on the wire, the same on every node."""

    id: int
    thread_id: str
    turn_id: str
    item_id: str
    owner: str
    method: str
    params: dict[str, Any]
    keys: list[str]
    state: str
    answer: dict[str, Any] | None
    announced: int

    @property
    def decision(self) -> Any:
        """What was decided, or None: an answer may be anything that a client makes up."""
        return self.answer.get("decision") if isinstance(self.answer, dict) else None


class Approvals:
    """The approvals table, and the rules that answers have made."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pending(self, thread_id: str, owner: str) -> list[Approval]:
        """Open questions of a thread, oldest first."""
        query = select(approvals).where(approvals.c.thread_id == thread_id, approvals.c.owner == owner)
        return self._read(query.where(approvals.c.state == "pending"))

    def of_turn(self, turn_id: str) -> list[Approval]:
        """All questions of a turn, oldest first."""
        return self._read(select(approvals).where(approvals.c.turn_id == turn_id))

    def find(self, request_id: int, owner: str) -> Approval | None:
        found = self._read(select(approvals).where(approvals.c.id == request_id, approvals.c.owner == owner))
        return found[0] if found else None

    def for_item(self, item_id: str) -> Approval | None:
        """The last question about an item."""
        found = self._read(select(approvals).where(approvals.c.item_id == item_id))
        return found[-1] if found else None

    def session_keys(self, thread_id: str) -> set[str]:
        """What this thread was allowed for good by "acceptForSession"."""
        query = select(approvals).where(approvals.c.thread_id == thread_id, approvals.c.state == "answered")
        return {
            key for approval in self._read(query) if approval.decision == "acceptForSession" for key in approval.keys
        }

    def rules(self, owner: str) -> list[list[str]]:
        """Command prefixes that the owner has allowed for good (execpolicy amendments)."""
        with self._database.read() as connection:
            return list(connection.scalars(select(rules.c.prefix).where(rules.c.owner == owner)))

    def add_rule(self, owner: str, prefix: Sequence[str]) -> None:
        with self._database.write() as connection:
            if list(prefix) not in connection.scalars(select(rules.c.prefix).where(rules.c.owner == owner)).all():
                connection.execute(insert(rules).values(owner=owner, prefix=list(prefix), created_at_ms=now_ms()))

    def _read(self, query: Any) -> list[Approval]:
        with self._database.read() as connection:
            return [approval_from_row(row) for row in connection.execute(query.order_by(approvals.c.id))]


def approval_from_row(row: Row[Any]) -> Approval:
    return Approval(**{name: row._mapping[name] for name in Approval.__dataclass_fields__})
