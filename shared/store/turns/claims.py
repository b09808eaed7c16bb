"""What a worker does with a turn: claim it, renew the lease, park it for an approval, queue it again at a shutdown."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, and_, bindparam, case, func, insert, or_, select, tuple_, update

from shared.clock import now_ms
from shared.errors import ClaimLost
from shared.protocol.auto_review import METHOD as REVIEW
from shared.protocol.turn import TurnError
from shared.store.approvals import Approval, approval_from_row
from shared.store.connection import DEFERRED, Database
from shared.store.outbox import Outbox
from shared.store.tables import approvals, pending_inputs, threads, turns, user_limits
from shared.store.terminals import Terminal
from shared.store.terminals import add as add_terminals
from shared.store.turns import Claim, Turn, rows
from shared.store.turns.ending import end_unclaimed
from shared.store.turns.rows import QUEUED, RUNNING
from shared.store.turns.webhook_events import add_approval_event, add_turn_event


class Claims:
    """Claims on turns, with their leases."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox
        self._run = (
            update(turns)
            .where(turns.c.id == bindparam("of"))
            .values(
                phase="running",
                claim_no=bindparam("claim"),
                claimed_by=bindparam("worker"),
                lease_until_ms=database.now_ms() + bindparam("lease_ms", type_=BigInteger),
                claimed_at_ms=bindparam("claimed_at_ms"),
                started_at_ms=bindparam("at_ms"),
                reserved_tokens=None,
            )
            .execution_options(**DEFERRED)
        )

    def claim(
        self, workers: Sequence[str], *, lease_ms: int, turns_at_once: int, looks_first: bool = False
    ) -> list[Claim]:
        """Claim the fairest waiting turns: each is the oldest of the user who has the fewest running for their weight.

        workers:       who claims one each; other names for each call, so that `find` finds what this call has claimed
        turns_at_once: how many turns of one user may run, unless the user has a limit of their own; 0: no limit
        looks_first:   whether to look for a waiting turn before taking the lock that all claims share; for callers that
                       expect none
        Returns:       the claims of the first of them; the others got none, because no more turns may run now
        """
        if looks_first:
            with self._database.read() as connection:
                if connection.scalar(_ANY_QUEUED) is None:
                    return []
        claims: list[Claim] = []
        with self._database.write() as connection:
            self._database.lock_claims(connection)
            for worker in workers:
                claim = self._claim_fairest(connection, worker, lease_ms, turns_at_once)
                if claim is None:
                    break
                claims.append(claim)
        return claims

    def _claim_fairest(self, connection: Connection, worker: str, lease_ms: int, turns_at_once: int) -> Claim | None:
        at_once = {"turns_at_once": turns_at_once}
        while (row := connection.execute(_LOCKED_FAIREST, at_once).first()) is None:
            if connection.scalar(_FAIREST, at_once) is None:  # else the selected turn was interrupted meanwhile
                return None
        claim_no = row.last_claim_no + 1
        rows.set_claim_no(connection, row.thread_id, claim_no)
        claimed_at_ms = now_ms()
        started_at_ms = row.started_at_ms or claimed_at_ms
        values = {"of": row.id, "claim": claim_no, "worker": worker, "lease_ms": lease_ms, "at_ms": started_at_ms}
        connection.execute(self._run, {**values, "claimed_at_ms": claimed_at_ms})
        turn = replace(rows.from_row(row), phase="running", started_at_ms=started_at_ms, claim_no=claim_no)
        if row.started_at_ms is None:
            add_turn_event(connection, self._outbox, "turn.started", turn)
        return Claim(turn, claim_no, recovered=row.started_at_ms is not None, lost_attempts=row.lost_attempts)

    def find(self, worker: str) -> Claim | None:
        """Return the claim that this worker made and got no confirmation of; None: there is none."""
        query = select(turns).where(turns.c.phase == RUNNING, turns.c.claimed_by == worker)
        with self._database.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return Claim(rows.from_row(row), row.claim_no, recovered=True, lost_attempts=row.lost_attempts)

    def all_users_count_claimable(self, *, turns_at_once: int) -> int:
        """Return how many turns `claim` would give out now. turns_at_once: as there."""
        with self._database.read() as connection:
            # PostgreSQL sums counts as numeric, which the driver returns as Decimal.
            return int(connection.scalar(_CLAIMABLE, {"turns_at_once": turns_at_once}) or 0)

    def renew(self, claims: Collection[Claim], *, lease_ms: int) -> set[str]:
        """Renew leases. Returns the ids of the turns whose claims still hold; the other claims are lost."""
        valid = and_(turns.c.phase == "running", _CLAIMED)
        renewal = update(turns).where(valid).values(lease_until_ms=self._database.now_ms() + lease_ms)
        with self._database.write() as connection:
            return set(connection.scalars(renewal.returning(turns.c.id), {"claims": _pairs(claims)}))

    def requested_stops(self, claims: Collection[Claim]) -> tuple[set[str], dict[str, int]]:
        """Return what was asked of claimed turns.

        Returns: (ids of the turns that were interrupted, turn id → id of its newest pending input)
        """
        ids = [claim.turn_id for claim in claims]
        unread = select(pending_inputs.c.turn_id, func.max(pending_inputs.c.id)).where(
            pending_inputs.c.turn_id.in_(ids), pending_inputs.c.item_id.is_(None)
        )
        with self._database.read() as connection:
            interrupted = set(connection.scalars(select(turns.c.id).where(turns.c.id.in_(ids), turns.c.interrupted)))
            newest = {row[0]: row[1] for row in connection.execute(unread.group_by(pending_inputs.c.turn_id))}
        return interrupted, newest

    def park(
        self,
        claim: Claim,
        method: str,
        item_id: str,
        params: Mapping[str, object],
        keys: Sequence[str],
        *,
        expires_in_ms: int,
        terminals: Sequence[Terminal] = (),
        lease_ms: int = 0,
    ) -> Approval | None:
        """Store a request to the client and release the turn, in one transaction. Errors: ClaimLost.

        terminals: the turn's commands that run on, which the worker holds for lease_ms
        A repeated call returns the request that the first one has stored.

        Returns: None when somebody has interrupted the turn: nothing is stored, and the worker keeps its claim
        """
        with self._database.write() as connection:
            if not lock_claimed(connection, [claim]):
                stored = connection.execute(_PARKED_BY, {"turn": claim.turn_id, "claim": claim.claim_no}).first()
                if stored is None or stored.item_id != item_id:
                    raise ClaimLost("another worker has the turn")
                return approval_from_row(stored)
            if rows.get(connection, claim.turn_id).interrupted:
                return None
            values = _request_values(claim, method, item_id, params, keys, expires_in_ms)
            row = connection.execute(insert(approvals).values(values).returning(approvals)).one()
            rows.leave_running(connection, claim.turn_id, "parked")
            add_terminals(connection, terminals, self._database.now_ms() + lease_ms)
            approval = approval_from_row(row)
            add_approval_event(connection, self._outbox, "approval.requested", approval)
        return approval

    def ask(
        self, claim: Claim, method: str, item_id: str, params: Mapping[str, object], *, expires_in_ms: int
    ) -> Approval:
        """Store a request to the client while the turn goes on: its worker waits for the answer. Errors: ClaimLost.

        item_id: new for each request, so that a repeated call returns the request that the first one has stored
        """
        with self._database.write() as connection:
            fence(connection, [claim])
            stored = connection.execute(select(approvals).where(approvals.c.item_id == item_id)).first()
            if stored is not None:
                return approval_from_row(stored)
            values = _request_values(claim, method, item_id, params, (), expires_in_ms)
            row = connection.execute(insert(approvals).values(values).returning(approvals)).one()
            approval = approval_from_row(row)
            add_approval_event(connection, self._outbox, "approval.requested", approval)
        return approval

    def fail(self, claim: Claim, error: TurnError, what_happened: str) -> Turn:
        """End a turn as failed without reading its history; the claim is then over. Errors: ClaimLost.

        what_happened: as of end_unclaimed
        """
        with self._database.write() as connection:
            fence(connection, [claim])
            end_unclaimed(connection, self._outbox, claim.turn, "failed", error, what_happened)
            return rows.get(connection, claim.turn_id)

    def requeue(self, claims: Collection[Claim]) -> None:
        """Queue turns again for another worker, as a shutdown does; turns whose claims are lost stay as they are."""
        with self._database.write() as connection:
            for turn_id, _ in sorted(lock_claimed(connection, claims)):
                rows.leave_running(connection, turn_id, "queued")

    def record_review(
        self, claim: Claim, item_id: str, params: Mapping[str, object], answer: Mapping[str, object]
    ) -> Approval:
        """Store the outcome of an automatic review as an answered request.

        Returns: the outcome that is stored, which is the first one of the item
        Errors: ClaimLost
        """
        with self._database.write() as connection:
            fence(connection, [claim])
            reviewed = select(approvals).where(approvals.c.item_id == item_id, approvals.c.method == REVIEW)
            stored = connection.execute(reviewed.order_by(approvals.c.id)).first()
            if stored is None:
                values = {
                    "thread_id": claim.thread_id,
                    "turn_id": claim.turn_id,
                    "owner": claim.owner,
                    "item_id": item_id,
                    "method": REVIEW,
                    "params": params,
                    "keys": [],
                    "state": "answered",
                    "answer": answer,
                    "created_at_ms": params["startedAtMs"],
                    "expires_at_ms": now_ms(),
                    "answered_at_ms": now_ms(),
                    "published_state": 2,
                }
                stored = connection.execute(insert(approvals).values(values).returning(approvals)).one()
        return approval_from_row(stored)


def lock_claimed(connection: Connection, claims: Collection[Claim]) -> dict[tuple[str, int], int]:
    """Lock the turns whose claims still hold, until the transaction ends.

    Returns: (id, claim number) → how many inputs the turn has not read; exact if an earlier statement of the
             transaction has locked the turn
    """
    found = connection.execute(_RUNNING_ROWS, {"ids": [claim.turn_id for claim in claims]}).all()
    pairs = set(_pairs(claims))
    return {pair: row.unread for row in found if (pair := (row.id, row.claim_no)) in pairs}


def fence(connection: Connection, claims: Collection[Claim]) -> None:
    """Lock turns whose claims must all hold. Errors: ClaimLost."""
    if len(lock_claimed(connection, claims)) < len(claims):
        raise ClaimLost("another worker has claimed the turn")


def _pairs(claims: Collection[Claim]) -> list[tuple[str, int]]:
    return [(claim.turn_id, claim.claim_no) for claim in claims]


def _runnable() -> Select[Any]:
    """Return the query for the users who wait and are under their cap: one look at an index per waiting user.

    Columns: owner, running (their running turns), allowed (how many may run; 0: no limit), weight
    """
    queued, later, runs = turns.alias("queued"), turns.alias("later"), turns.alias("runs")
    first = select(func.min(queued.c.owner).label("owner")).where(queued.c.phase == QUEUED)
    waiting = first.cte("waiting", recursive=True)
    following = select(func.min(later.c.owner)).where(later.c.phase == QUEUED, later.c.owner > waiting.c.owner)
    waiting = waiting.union_all(select(following.scalar_subquery()).where(waiting.c.owner.is_not(None)))
    running = select(func.count()).where(runs.c.phase == RUNNING, runs.c.owner == waiting.c.owner).scalar_subquery()
    allowed = func.coalesce(user_limits.c.turns_at_once, bindparam("turns_at_once", type_=BigInteger))
    weight = func.coalesce(user_limits.c.weight, 1)
    return (
        select(waiting.c.owner, running.label("running"), allowed.label("allowed"), weight.label("weight"))
        .outerjoin(user_limits, user_limits.c.owner == waiting.c.owner)
        .where(waiting.c.owner.is_not(None), or_(allowed == 0, running < allowed))
    )


def _fairest() -> Select[Any]:
    """Return the query for the turn to run next.

    Of the users under their cap it selects the one with the fewest running turns for their weight; among equals, the
    one who waits longest.
    """
    users, queued = _runnable().subquery(), turns.alias("queued")
    oldest = select(func.min(queued.c.queued_at_ms)).where(queued.c.phase == QUEUED, queued.c.owner == users.c.owner)
    fewest_first = (users.c.running * 1.0 / users.c.weight, oldest.scalar_subquery(), users.c.owner)
    user = select(users.c.owner).order_by(*fewest_first).limit(1).scalar_subquery()
    oldest_first = (turns.c.queued_at_ms, turns.c.id)
    return select(turns.c.id).where(turns.c.phase == QUEUED, turns.c.owner == user).order_by(*oldest_first).limit(1)


def _claimable() -> Select[Any]:
    """Return the query for the number of turns that may run now: of each user those that wait, up to the user's cap."""
    users, queued = _runnable().subquery(), turns.alias("queued")
    waiting = select(func.count()).where(queued.c.phase == QUEUED, queued.c.owner == users.c.owner).scalar_subquery()
    free = users.c.allowed - users.c.running
    number = case((or_(users.c.allowed == 0, free > waiting), waiting), else_=free)
    return select(func.coalesce(func.sum(number), 0))


_ANY_QUEUED = select(turns.c.id).where(turns.c.phase == QUEUED).limit(1)
_CLAIMABLE = _claimable()
_FAIREST = _fairest()
_LOCKED_FAIREST = (
    select(turns, threads.c.claim_no.label("last_claim_no"))
    .join(threads, threads.c.id == turns.c.thread_id)
    .where(turns.c.id == _FAIREST.scalar_subquery(), turns.c.phase == QUEUED)
    .with_for_update(of=[turns, threads])
)
_PARKED_BY = (
    select(approvals)
    .join(turns, turns.c.id == approvals.c.turn_id)
    .where(turns.c.id == bindparam("turn"), turns.c.claim_no == bindparam("claim"), turns.c.phase == "parked")
    .where(approvals.c.state == "pending")
)
_CLAIMED = tuple_(turns.c.id, turns.c.claim_no).in_(bindparam("claims", expanding=True))
_UNREAD_COUNT = (
    select(func.count())
    .where(pending_inputs.c.turn_id == turns.c.id, pending_inputs.c.item_id.is_(None))
    .scalar_subquery()
)
_RUNNING_ROWS = (  # looked up by id only: a list of pairs takes SQLAlchemy as long as four statements
    select(turns.c.id, turns.c.claim_no, _UNREAD_COUNT.label("unread"))
    .where(turns.c.phase == "running", turns.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(turns.c.id)
    .with_for_update(of=turns)
)


def _request_values(
    claim: Claim, method: str, item_id: str, params: Mapping[str, object], keys: Sequence[str], expires_in_ms: int
) -> dict[str, object]:
    """Return the columns of a new request."""
    return {
        "thread_id": claim.thread_id,
        "turn_id": claim.turn_id,
        "owner": claim.owner,
        "item_id": item_id,
        "method": method,
        "params": params,
        "keys": list(keys),
        "state": "pending",
        "created_at_ms": now_ms(),
        "expires_at_ms": now_ms() + expires_in_ms,
    }
