"""What the sweep does: it requeues turns of lost workers, expires approvals and finds what was not published.

Every method here crosses users; no request reaches it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, bindparam, exists, func, or_, select, update

from shared.clock import now_ms
from shared.protocol.turn import turn_error
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.outbox import Outbox
from shared.store.tables import approvals, items, terminals, turns
from shared.store.turns import Turn, rows
from shared.store.turns.ending import end_unclaimed
from shared.store.turns.requests import answer_approval

_RUNNING_CALL = (
    select(items.c.id)
    .where(items.c.turn_id == bindparam("of"), ~items.c.answered, items.c.begun_at_ms.is_not(None))
    .limit(1)
)
UNPUBLISHED_FOR_MS = 5000  # after which the sweep publishes what the process that stored it has not published


class Recovery:
    """Turns that no process takes care of."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    def all_users_requeue_lost(self, *, max_lost_attempts: int) -> tuple[list[Turn], list[Turn]]:
        """Queue turns again whose lease ran out; end those as failed that lost too many workers.

        What a turn stores makes up for workers that were lost between its tool calls, not for those that were lost
        while they ran one: the model may repeat the call that kills them.
        Returns: (queued again, failed)
        """
        requeued, failed = [], []
        with self._database.write() as connection:
            query = select(turns).where(turns.c.phase == "running", turns.c.lease_until_ms < self._database.now_ms())
            for row in connection.execute(query.order_by(turns.c.id).with_for_update(skip_locked=True)).all():
                turn = rows.from_row(row)
                if row.lost_attempts < max_lost_attempts:
                    values: dict[str, Any] = {"lost_attempts": row.lost_attempts + 1}
                    if connection.scalar(_RUNNING_CALL, {"of": turn.id}) is not None:
                        values["options"] = {**turn.options, "lostCalls": turn.options.get("lostCalls", 0) + 1}
                    rows.leave_running(connection, turn.id, "queued", **values)
                    requeued.append(turn)
                    continue
                message = f"the turn was given up: {row.lost_attempts + 1} workers were lost while they ran it"
                error = turn_error(message, "internalServerError")
                end_unclaimed(connection, self._outbox, turn, "failed", error, message)
                failed.append(rows.get(connection, turn.id))
        return requeued, failed

    def all_users_end_leases(self, worker: str) -> int:
        """End the leases of a worker that has certainly ended, so that the next sweep finds what it had.

        Returns: how many turns and background terminals that are
        """
        own_turns = (turns.c.phase == "running", turns.c.claimed_by.startswith(f"{worker}:", autoescape=True))
        own_terminals = (terminals.c.worker == worker, terminals.c.ended_at_ms.is_(None))
        with self._database.write() as connection:
            ended = connection.execute(update(turns).where(*own_turns).values(lease_until_ms=0)).rowcount
            ended += connection.execute(update(terminals).where(*own_terminals).values(lease_until_ms=0)).rowcount
        return ended

    def all_users_expire_approvals(self, answer: Mapping[str, object]) -> list[Turn]:
        """Give an answer to approvals that nobody answered in time. Returns the turns that are queued again."""
        requeued = []
        with self._database.write() as connection:
            query = select(approvals.c.id).where(approvals.c.state == "pending", approvals.c.expires_at_ms < now_ms())
            for request_id in connection.scalars(query.order_by(approvals.c.id)).all():
                turn = answer_approval(connection, self._outbox, request_id, answer, owner=None)
                if turn is not None:
                    audit_entry = AuditEntry.of_operator("serverRequest/expire")
                    audit.write(connection, audit_entry, thread_id=turn.thread_id, subject_id=str(request_id))
                    requeued.append(turn)
        return requeued

    def all_users_end_interrupted(self) -> list[Turn]:
        """End parked turns that were interrupted, as `store.turns.interrupt` ends them. Returns them.

        `store.claims.park` leaves none; databases that are older than version 0.1.0 may have some.
        """
        waiting = (rows.NOT_DONE, turns.c.phase == "parked", turns.c.interrupted)
        ended = []
        with self._database.write() as connection:
            query = select(turns).where(*waiting).order_by(turns.c.id).with_for_update(skip_locked=True)
            for row in connection.execute(query).all():
                what_happened = "The user interrupted the turn while it waited for an answer."
                end_unclaimed(connection, self._outbox, rows.from_row(row), "interrupted", None, what_happened)
                ended.append(rows.get(connection, row.id))
        return ended

    def all_users_unpublished(self) -> list[Turn]:
        """Return turns whose end or whose pending approval was stored a while ago and has not been published."""
        before = now_ms() - UNPUBLISHED_FOR_MS
        ended = and_(turns.c.phase == "done", turns.c.published_state < 2, turns.c.completed_at_ms < before)
        asks = exists().where(
            approvals.c.turn_id == turns.c.id,
            approvals.c.state == "pending",
            approvals.c.published_state < 1,
            approvals.c.created_at_ms < before,
        )
        query = select(turns).where(or_(ended, and_(turns.c.phase == "parked", asks))).order_by(turns.c.id).limit(200)
        with self._database.read() as connection:
            return [rows.from_row(row) for row in connection.execute(query)]

    def all_users_count_phases(self) -> dict[str, tuple[int, int]]:
        """Return, for turns that are not done, phase → (how many, for how many ms the oldest has been waiting)."""
        query = select(turns.c.phase, func.count(), func.min(turns.c.queued_at_ms)).where(rows.NOT_DONE)
        with self._database.read() as connection:
            found = connection.execute(query.group_by(turns.c.phase)).all()
        return {phase: (count, max(0, now_ms() - since)) for phase, count, since in found}
