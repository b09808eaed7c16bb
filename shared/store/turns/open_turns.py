"""Turns that are not done: where each of them is, and why it does not go on, for their users and for operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import Connection, and_, func, literal_column, select
from sqlalchemy.engine import Row

from shared.clock import span
from shared.event_names import TURNS_QUEUE
from shared.ids import first_id
from shared.protocol.dynamic_tools import SERVER_TOOLS
from shared.protocol.turn import TurnError
from shared.store import audit
from shared.store.audit import AuditEntry
from shared.store.connection import Database
from shared.store.tables import approvals, items, threads, turns, user_limits
from shared.store.turns import Turn, rows
from shared.store.turns.timelines import Moment, read_timeline
from shared.store.workers import read_workers

SILENT_MS = 12_000  # of a worker, which reports every 5 s; said before it counts as lost
CLAIM_MS = 15_000  # within which a free worker claims a turn, even if its wake-up got lost
MAX_ERRORS = 1000

Cause = Literal["approval", "limit", "noWorker", "queue", "lostWorker", "claim", "tool", "model"]


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """A turn that is not done. Times are Unix ms.

    since_ms:      when it began to wait for its cause: when it was queued or parked, when its tool call began, when its
                   model call may have begun, or when its worker reported last; by the clock of who stored it
    worker:        the worker process that has claimed it
    lost_attempts: workers that were lost while they ran it
    cause:         approval: it waits for a person; limit: its user runs as many turns as they may; noWorker: none takes
                   turns; queue: all workers are busy; claim: a worker is about to claim it; lostWorker: its worker is
                   silent; tool: a tool call runs; model: it is at a model call, or between two steps
    why:           the same as a sentence with what to do about it
    """

    turn: Turn
    since_ms: int
    worker: str | None
    lost_attempts: int
    cause: Cause
    why: str


def with_failed_call(found: OpenTurn, kind: str) -> OpenTurn:
    """Return a turn whose last model call failed. kind: of the error; "" for a call that did not fail"""
    if found.cause != "model" or not kind:
        return found
    return replace(found, why=f"its last model call failed ({kind}) and is repeated: see its log lines")


@dataclass(frozen=True, slots=True)
class WaitingUser:
    """The queued turns of one user. count: how many; since_ms: when the first was queued; cause, why: as of OpenTurn"""

    owner: str
    count: int
    since_ms: int
    cause: Cause
    why: str


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """A turn that runs, with the name and the preview of its thread. Times are Unix ms."""

    turn_id: str
    thread_id: str
    name: str | None
    preview: str
    started_at_ms: int | None


class OpenTurns:
    """Turns that are not done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all_users_list(
        self,
        *,
        turns_at_once: int,
        turn_id: str | None = None,
        owner: str | None = None,
        phase: str | None = None,
        worker: str | None = None,
        limit: int = 1000,
    ) -> list[OpenTurn]:
        """Return open turns, the one that is longest in its phase first.

        turns_at_once: as of `store.claims.claim`
        worker:        beginning of a worker's name
        """
        with self._database.read() as connection:
            state = _State(connection, self._database, turns_at_once, owner)
            lease_ms = (turns.c.lease_until_ms - self._database.now_ms()).label("lease_ms")
            query = select(turns, lease_ms, _LAST_ITEM_MS.label("last_item_ms"))
            query = query.where(rows.NOT_DONE)
            for column, value in ((turns.c.id, turn_id), (turns.c.owner, owner), (turns.c.phase, phase)):
                if value is not None:
                    query = query.where(column == value)
            if worker is not None:
                query = query.where(turns.c.claimed_by.startswith(worker, autoescape=True))
            found = connection.execute(query.order_by(turns.c.queued_at_ms, turns.c.id).limit(limit)).all()
            state.read_calls_and_approvals(connection, [row.id for row in found])
        return sorted(map(state.describe, found), key=lambda turn: turn.since_ms)

    def find(self, turn_id: str, owner: str, *, turns_at_once: int) -> OpenTurn | None:
        """Return an open turn; None: it is done, or there is no such turn. turns_at_once: as of `all_users_list`"""
        found = self.all_users_list(turns_at_once=turns_at_once, turn_id=turn_id, owner=owner)
        return found[0] if found else None

    def running(self, owner: str, limit: int) -> list[RunningTurn]:
        """Return the turns of a user that run, the one that began first first."""
        query = (
            select(turns.c.id, turns.c.thread_id, threads.c.name, threads.c.preview, turns.c.started_at_ms)
            .join(threads, threads.c.id == turns.c.thread_id)
            .where(turns.c.owner == owner, turns.c.phase == rows.RUNNING)
            .order_by(turns.c.started_at_ms)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [RunningTurn(*row) for row in connection.execute(query)]

    def all_users_by_phase(self) -> dict[str, Counter[str]]:
        """Return owner → phase → how many of their turns are in it, of those that are not done."""
        query = select(turns.c.owner, turns.c.phase, func.count()).where(rows.NOT_DONE)
        found: dict[str, Counter[str]] = {}
        with self._database.read() as connection:
            for owner, phase, count in connection.execute(query.group_by(turns.c.owner, turns.c.phase)):
                found.setdefault(owner, Counter())[phase] = count
        return found

    def all_users_count_new(self, since_ms: int) -> int:
        """Return how many turns were made since then. since_ms: Unix ms, minutes ago: each of these turns is read."""
        query = select(func.count()).where(turns.c.id >= first_id(since_ms))
        with self._database.read() as connection:
            return connection.scalar(query) or 0

    def all_users_ended(self, since_ms: int, *, made_since_ms: int) -> tuple[int, list[TurnError | None]]:
        """Return how many turns have ended since then, and the errors of those that failed, at most MAX_ERRORS.

        made_since_ms: turns made before are left out: each of those made since is read. Both are Unix ms.
        """
        ended = and_(turns.c.id >= first_id(made_since_ms), turns.c.completed_at_ms >= since_ms)
        failed = select(turns.c.error).where(ended, turns.c.status == "failed").limit(MAX_ERRORS)
        with self._database.read() as connection:
            count = connection.scalar(select(func.count()).where(ended)) or 0
            return count, list(connection.scalars(failed))

    def all_users_waiting(self, *, turns_at_once: int) -> list[WaitingUser]:
        """Return what the queued turns of each user wait for, the user whose turn waits longest first."""
        waiting = (
            select(turns.c.owner, func.count().label("number"), func.min(turns.c.queued_at_ms).label("since_ms"))
            .where(turns.c.phase == rows.QUEUED)
            .group_by(turns.c.owner)
        )
        with self._database.read() as connection:
            state = _State(connection, self._database, turns_at_once)
            found = connection.execute(waiting).all()
        users = [
            WaitingUser(row.owner, row.number, row.since_ms, *state.why_queued(row.owner, row.since_ms))
            for row in found
        ]
        return sorted(users, key=lambda user: user.since_ms)

    def all_users_running(self) -> dict[str, int]:
        """Return name of a worker process → how many turns it runs."""
        claimed = select(turns.c.claimed_by).where(turns.c.phase == rows.RUNNING)
        with self._database.read() as connection:
            return dict(Counter(_worker_of(name) or "" for name in connection.scalars(claimed)))

    def all_users_find(self, turn_id: str) -> tuple[Turn, list[Moment]] | None:
        """Return any turn and its timeline, oldest moment first; None: there is no such turn."""
        return read_timeline(self._database, turn_id)

    def all_users_requeue(self, turn_id: str, *, audit_entry: AuditEntry) -> bool:
        """Take a running turn away from its worker, and queue it for the next one. False: it does not run.

        The worker's writes are refused from now on, and a tool call that has begun is not begun again. Its command
        runs on until the worker gets turn_signals.REQUEUED, or renews its lease the next time.
        """
        query = select(turns).where(turns.c.id == turn_id, turns.c.phase == rows.RUNNING).with_for_update()
        with self._database.write() as connection:
            row = connection.execute(query).first()
            if row is None:
                return False
            rows.leave_running(connection, turn_id, "queued")
            audit.write(connection, audit_entry, thread_id=row.thread_id, subject_id=turn_id)
            return True


_LAST_ITEM_MS = (
    select(items.c.completed_at_ms)
    .where(items.c.turn_id == turns.c.id, items.c.completed_at_ms.is_not(None))
    .order_by(items.c.position.desc())
    .limit(1)
    .scalar_subquery()
)


class _State:
    """What the reasons of all turns depend on, or of those of one user, as of one moment."""

    def __init__(
        self, connection: Connection, database: Database, turns_at_once: int, owner: str | None = None
    ) -> None:
        self._now_ms = connection.scalar(select(database.now_ms())) or 0
        self._workers = read_workers(connection, database)
        self._turns_at_once = turns_at_once
        own = select(user_limits.c.owner, user_limits.c.turns_at_once).where(user_limits.c.turns_at_once.is_not(None))
        if owner is not None:
            own = own.where(user_limits.c.owner == owner)
        self._own_limits = {row.owner: row.turns_at_once for row in connection.execute(own)}
        running = select(turns.c.owner, func.count()).where(turns.c.phase == rows.RUNNING).group_by(turns.c.owner)
        self._running: Counter[str] = Counter({row[0]: row[1] for row in connection.execute(running)})
        self._calls: dict[str, tuple[str, int]] = {}  # turn id → name of the tool that runs, since when
        self._approvals: dict[str, tuple[str, int]] = {}  # turn id → method of the request, until when

    def read_calls_and_approvals(self, connection: Connection, turn_ids: Sequence[str]) -> None:
        calls = select(items.c.turn_id, items.c.model_items, items.c.begun_at_ms).where(
            items.c.turn_id.in_(turn_ids), ~items.c.answered, items.c.begun_at_ms.is_not(None)
        )
        for row in connection.execute(calls.order_by(items.c.position.desc())):
            name = row.model_items[0].get("name")
            self._calls[row.turn_id] = (name if name in SERVER_TOOLS else "a tool call", row.begun_at_ms)
        pending = select(approvals.c.turn_id, approvals.c.method, approvals.c.expires_at_ms).where(
            approvals.c.turn_id.in_(turn_ids), approvals.c.state == literal_column("'pending'")
        )
        for row in connection.execute(pending):
            self._approvals[row.turn_id] = (row.method, row.expires_at_ms)

    def describe(self, row: Row[Any]) -> OpenTurn:
        turn = rows.from_row(row)
        worker = _worker_of(row.claimed_by) if turn.phase == "running" else None
        if turn.phase == "parked":
            return OpenTurn(turn, row.queued_at_ms, worker, row.lost_attempts, *self._why_parked(turn))
        if turn.phase == "queued":
            why_queued = self.why_queued(turn.owner, row.queued_at_ms)
            return OpenTurn(turn, row.queued_at_ms, worker, row.lost_attempts, *why_queued)
        since_ms, cause, why = self._why_running(row, worker or "")
        return OpenTurn(turn, since_ms, worker, row.lost_attempts, cause, why)

    def _why_parked(self, turn: Turn) -> tuple[Cause, str]:
        method, until_ms = self._approvals.get(turn.id, ("", 0))
        if not method:
            return "approval", "the answer to its request is stored: a worker queues it again within seconds"
        left = span(until_ms - self._now_ms)
        return "approval", f"it waits for an answer to {method}, which is declined by itself in {left}"

    def why_queued(self, owner: str, queued_at_ms: int) -> tuple[Cause, str]:
        alive = [seen for seen in self._workers if not seen.lost and TURNS_QUEUE in seen.worker.queues]
        taking = [seen for seen in alive if not seen.worker.draining]
        if not taking:
            what = "all workers that take turns are shutting down" if alive else "no worker takes turns"
            return "noWorker", f"{what}: start one with `threadhouse worker`"
        allowed = self._own_limits.get(owner, self._turns_at_once)
        running = self._running[owner]
        if allowed and running >= allowed:
            return "limit", f"its user runs {_count(running, 'turn')} and may run {allowed} at once (turns_at_once)"
        slots, busy = sum(seen.worker.slots for seen in taking), self._running.total()
        if busy >= slots:
            of_workers = f"{_count(slots, 'slot')} of {_count(len(taking), 'worker')}"
            return "queue", f"{_count(busy, 'turn')} in the {of_workers}: add workers"
        if self._now_ms - queued_at_ms < CLAIM_MS:
            return "claim", "a worker is about to claim it"
        free = f"{slots - busy} of {slots} slots are free, and no worker has claimed it"
        return "claim", f"{free}: see the workers' logs, and whether they reach Redis"

    def _why_running(self, row: Row[Any], worker: str) -> tuple[int, Cause, str]:
        """Return since when, the cause, and the cause as a sentence."""
        seen = next((seen for seen in self._workers if seen.worker.name == worker), None)
        lease_ms = row.lease_ms
        if lease_ms < 0:
            again = "another worker queues it again within seconds"
            if all(other.lost for other in self._workers):
                again = "no worker is there to queue it again: start one with `threadhouse worker`"
            why = f"its worker let the lease run out {span(-lease_ms)} ago: {again}"
            return row.lease_until_ms, "lostWorker", why
        if seen is not None and seen.lost:
            why = f"its worker is silent for {span(seen.silent_ms)}; the lease ends in {span(lease_ms)}"
            return seen.seen_at_ms, "lostWorker", why
        more = ""
        if seen is not None and seen.worker.problem:
            more = f"; commands cannot run there: {seen.worker.problem}"
        if seen is not None and seen.silent_ms > SILENT_MS:
            more += f"; its worker is silent for {span(seen.silent_ms)}"
        if row.id in self._calls:
            name, since_ms = self._calls[row.id]
            return since_ms, "tool", f"{name} runs for {span(self._now_ms - since_ms)}{more}"
        since_ms = max(row.claimed_at_ms or 0, row.queued_at_ms, row.last_item_ms or 0)
        where = f"it is at a model call, or between two steps, for {span(self._now_ms - since_ms)}"
        return since_ms, "model", f"{where}: see its log lines{more}"


def _worker_of(claimed_by: str | None) -> str | None:
    """Return the name of the worker process that made a claim; each of its claims has a name of its own."""
    return None if claimed_by is None else claimed_by.rpartition(":")[0]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
