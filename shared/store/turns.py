"""The moves of a turn. Each is one transaction that locks the turn's row; nothing else changes a turn.

    phase   queued → running → (parked → queued)* → done
    status  inProgress → completed | interrupted | failed, never back

A turn is held by a claim: a number that grows with each claim of its thread, and a lease on the database's clock.
Rows are locked in the order turn, thread, others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.engine import Row
from sqlalchemy.exc import IntegrityError

from shared.clock import now_ms
from shared.errors import ClaimLost, Conflict, NotFound, NotSteerable, Overloaded
from shared.ids import new_id
from shared.protocol.turn import turn_error
from shared.store import audit
from shared.store import items as item_rows
from shared.store.approvals import Approval, approval_from_row
from shared.store.audit import Act
from shared.store.connection import Database
from shared.store.items import Item
from shared.store.outbox import Outbox
from shared.store.tables import approvals, items, mail, threads, turns, user_limits
from shared.store.threads import TITLE_SOURCE, Thread, check_id, find_thread, lock_thread, save_settings
from shared.webhooks import NOTIFY

SHELL_COMMAND = "shellCommand"  # {"type", "command", "timeoutMs"}: input that is no message, but a call to answer
IMAGE_URLS = ("data:image/", "https://")  # what a model is handed
CLIENT_CALL = "item/tool/call"  # a question to the client's program (PROTOCOL 8.4)
UNNOTIFIED = ("compact", "shell")  # kinds of turns whose end is not the notify program's business (PROTOCOL 13)
KINDS = ("compact", "shell", "review")  # of turns that are not begun by a message
NOT_STEERABLE = ("compact", "review")  # KINDS that take no messages; a command that the user types runs in any turn
PREVIEW_CHARACTERS = 2000  # of the first message, kept for lists
SESSION_DELAY_MS = 2000  # of turns in quick succession the session file is written once
RETRY_LEAST_MS, RETRY_MOST_MS = 1000, 60_000  # after which a client whose turn found no place is asked to come again
UNTOLD_FOR_MS = 5000  # an ended turn that nobody announced for this long is announced by the sweep


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn.

    options:  {"kind"?: one of KINDS, else a regular turn; "outputSchema"?, "client"?: name of the client that began it}
    claim_no: of the last claim; 0: never claimed
    """

    id: str
    thread_id: str
    owner: str
    phase: str
    status: str
    options: dict[str, Any]
    created_at_ms: int
    error: dict[str, Any] | None = None
    interrupted: bool = False
    started_at_ms: int | None = None
    completed_at_ms: int | None = None
    announced: int = 0
    client_id: str | None = None
    claim_no: int = 0

    @property
    def done(self) -> bool:
        return self.phase == "done"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write a turn, until its lease runs out or a newer claim is made.

    turn:      as it stood when it was claimed
    recovered: whether an earlier attempt had it
    lost:      leases that ran out since the last stored item
    """

    turn: Turn
    claim_no: int
    recovered: bool
    lost: int

    @property
    def turn_id(self) -> str:
        return self.turn.id

    @property
    def thread_id(self) -> str:
        return self.turn.thread_id

    @property
    def owner(self) -> str:
        return self.turn.owner


@dataclass(frozen=True, slots=True)
class Mail:
    """Input that a turn has not read yet."""

    id: int
    input: list[dict[str, Any]]
    client_id: str | None

    @property
    def is_command(self) -> bool:
        """Whether it is no message but a command that the user typed."""
        return bool(self.input) and self.input[0]["type"] == SHELL_COMMAND


@dataclass(frozen=True, slots=True)
class NewTurn:
    """What turn/start asks for.

    input:    UserInput[], one SHELL_COMMAND part, or None: nothing is said
    settings: changes that become the thread's defaults
    options:  of this turn only
    """

    input: list[dict[str, Any]] | None
    client_id: str | None
    settings: dict[str, Any]
    options: dict[str, Any]


class Turns:
    """The turns table and its mail."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    # -- moves that a request makes

    def create_or_steer(
        self,
        thread_id: str,
        owner: str,
        new: NewTurn,
        *,
        queued_limit: int,
        waiting_limit: int = 0,
        act: Act | None = None,
    ) -> tuple[Turn, bool]:
        """Begin a turn, or give its input to the one that runs. Whether it is new.

        A client_id that the thread has seen already answers with the turn that has it, and changes nothing.
        queued_limit, waiting_limit: how many turns of the owner, and of all users, may wait; 0: no limit
        Errors: NotFound, Conflict (archived), NotSteerable, Overloaded (too many turns wait)
        """
        return self._begin(thread_id, owner, new, (queued_limit, waiting_limit), act, may_steer=True)

    def create(
        self,
        thread_id: str,
        owner: str,
        new: NewTurn,
        *,
        queued_limit: int,
        waiting_limit: int = 0,
        act: Act | None = None,
    ) -> Turn:
        """Begin a turn. Errors: NotFound, Conflict (archived, or a turn is active), Overloaded."""
        return self._begin(thread_id, owner, new, (queued_limit, waiting_limit), act, may_steer=False)[0]

    def _begin(
        self, thread_id: str, owner: str, new: NewTurn, limits: tuple[int, int], act: Act | None, *, may_steer: bool
    ) -> tuple[Turn, bool]:
        check_id(thread_id)
        while True:
            try:
                with self._database.write() as connection:
                    turn, is_new = self._create_or_steer(connection, thread_id, owner, new, limits, may_steer)
                    if is_new:
                        audit.write(connection, act, thread_id=thread_id, subject_id=turn.id)
                    return turn, is_new
            except IntegrityError:  # somebody began a turn between our look and our insert: look again
                continue

    def _create_or_steer(
        self,
        connection: Connection,
        thread_id: str,
        owner: str,
        new: NewTurn,
        limits: tuple[int, int],
        may_steer: bool,
    ) -> tuple[Turn, bool]:
        active = _lock_active(connection, thread_id, owner)
        thread = lock_thread(connection, thread_id, owner)  # it cannot be deleted or archived meanwhile
        if thread.archived_at_ms is not None:
            raise Conflict(f"session {thread_id} is archived. Run thread/unarchive first.")
        if new.client_id is not None:
            known = _by_client_id(connection, thread_id, new.client_id)
            if known is not None:
                return known, False
        if active is None:
            if any(limits):
                _check_queue(connection, owner, *limits)
            turn = _insert_turn(connection, thread_id, owner, new)
        elif not may_steer:
            raise Conflict(f"turn {active.id} is active; wait for its end or interrupt it")
        else:
            _check_steerable(active, new)
            turn = active
        if new.input is not None:
            values = {"turn_id": turn.id, "input": new.input, "client_id": new.client_id, "created_at_ms": now_ms()}
            connection.execute(insert(mail).values(values))
        _use_thread(connection, thread, new)
        return turn, active is None

    def steer(self, thread_id: str, owner: str, expected_id: str, new: NewTurn) -> Turn:
        """Give input to the running turn; one with a client_id that the thread has seen changes nothing.

        Errors: NotFound, Conflict (no or another turn runs; PROTOCOL 2.1), NotSteerable
        """
        check_id(thread_id)
        with self._database.write() as connection:
            active = _lock_active(connection, thread_id, owner)
            if find_thread(connection, thread_id, owner) is None:
                raise NotFound(f"thread not found: {thread_id}")
            if new.client_id is not None:
                known = _by_client_id(connection, thread_id, new.client_id)
                if known is not None:
                    return known
            if active is None:
                raise Conflict("no active turn to steer")
            if active.id != expected_id:
                raise Conflict(f"expected active turn id `{expected_id}` but found `{active.id}`")
            _check_steerable(active, new)
            values = {"turn_id": active.id, "input": new.input, "client_id": new.client_id, "created_at_ms": now_ms()}
            connection.execute(insert(mail).values(values))
            return active

    def interrupt(self, thread_id: str, owner: str, expected_id: str | None, *, act: Act | None = None) -> Turn:
        """Ask a turn to stop; one that no worker holds ends here and now. Harmless when repeated.

        expected_id: the turn that must be active; None: whichever is
        Errors:      NotFound, Conflict (no or another turn is active; PROTOCOL 2.1)
        """
        check_id(thread_id)
        with self._database.write() as connection:
            active = _lock_active(connection, thread_id, owner)
            if find_thread(connection, thread_id, owner) is None:
                raise NotFound(f"thread not found: {thread_id}")
            if active is None:
                raise Conflict("no active turn to interrupt")
            if expected_id is not None and active.id != expected_id:
                raise Conflict(f"expected active turn id {expected_id} but found {active.id}")
            connection.execute(update(turns).where(turns.c.id == active.id).values(interrupted=True))
            audit.write(connection, act, thread_id=thread_id, subject_id=active.id)
            if active.phase != "running":
                why = "The user interrupted the turn before it ran."
                _end_unheld(connection, self._outbox, active, "interrupted", None, why)
            return _get(connection, active.id)

    def answer(self, request_id: int, owner: str, answer: dict[str, Any], *, act: Act | None = None) -> Turn | None:
        """Take the first answer to a question: the turn is queued again. None: there is no such question any more."""
        with self._database.write() as connection:
            turn = _answer(connection, self._outbox, request_id, answer, owner)
            if turn is not None:
                audit.write(connection, act, thread_id=turn.thread_id, subject_id=str(request_id))
            return turn

    # -- reading

    def get(self, turn_id: str, owner: str) -> Turn:
        """The owner's turn. Errors: NotFound."""
        with self._database.read() as connection:
            row = connection.execute(select(turns).where(turns.c.id == turn_id, turns.c.owner == owner)).first()
        if row is None:
            raise NotFound(f"turn not found: {turn_id[:80]}")
        return _from_row(row)

    def of_thread(
        self,
        thread_id: str,
        owner: str,
        *,
        after_id: str | None = None,
        inclusive: bool = False,
        descending: bool = False,
        limit: int | None = None,
    ) -> list[Turn]:
        """Turns in order of their ids, which is the order they began in; beyond after_id, or from it on."""
        query = select(turns).where(turns.c.thread_id == thread_id, turns.c.owner == owner)
        if after_id is not None:
            if descending:
                query = query.where(turns.c.id <= after_id if inclusive else turns.c.id < after_id)
            else:
                query = query.where(turns.c.id >= after_id if inclusive else turns.c.id > after_id)
        query = query.order_by(turns.c.id.desc() if descending else turns.c.id.asc()).limit(limit)
        with self._database.read() as connection:
            return [_from_row(row) for row in connection.execute(query)]

    def active(self, owner: str) -> list[Turn]:
        """Those of the owner that are not over."""
        query = select(turns).where(turns.c.owner == owner, turns.c.phase != "done")
        with self._database.read() as connection:
            return [_from_row(row) for row in connection.execute(query)]

    def all_users_active(self) -> dict[str, int]:
        """Owner → how many turns of theirs are not over."""
        query = select(turns.c.owner, func.count()).where(turns.c.phase != "done").group_by(turns.c.owner)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def all_users_find_active(self, thread_id: str) -> Turn | None:
        """The turn of a thread that is not over, whoever owns it."""
        with self._database.read() as connection:
            query = select(turns).where(turns.c.thread_id == thread_id, turns.c.phase != "done")
            row = connection.execute(query).first()
        return None if row is None else _from_row(row)

    def unread(self, turn_id: str) -> list[Mail]:
        """Input that the turn has not read, oldest first."""
        with self._database.read() as connection:
            return _unread(connection, turn_id)

    def is_interrupted(self, turn_id: str) -> bool:
        with self._database.read() as connection:
            return bool(connection.scalar(select(turns.c.interrupted).where(turns.c.id == turn_id)))

    # -- moves that a worker makes

    def claim(self, worker: str, *, lease_ms: int, turns_at_once: int) -> Claim | None:
        """Take the fairest waiting turn: of the user who has the fewest running for their weight, the oldest.

        turns_at_once: how many turns of one user may run, unless the user has a limit of their own; 0: no limit
        """
        with self._database.read() as connection:
            if connection.scalar(_WAITING) is None:
                return None  # most looks: a turn has ended and nothing waits
        with self._database.write() as connection:
            self._database.lock_claims(connection)
            row = None
            while row is None:  # a turn that was interrupted since we looked is not there any more
                turn_id = connection.scalar(_FAIREST, {"turns_at_once": turns_at_once})
                if turn_id is None:
                    return None
                row = connection.execute(_TAKEN, {"of": turn_id}).first()
            claim_no = _raise_claim_no(connection, row.thread_id)
            started_at_ms = row.started_at_ms or now_ms()
            connection.execute(
                update(turns)
                .where(turns.c.id == row.id)
                .values(
                    phase="running",
                    claim_no=claim_no,
                    claimed_by=worker,
                    lease_until_ms=self._database.now_ms() + lease_ms,
                    started_at_ms=started_at_ms,
                    reserved_tokens=None,
                )
            )
            turn = replace(_from_row(row), phase="running", started_at_ms=started_at_ms, claim_no=claim_no)
            if row.started_at_ms is None:
                _tell_of_turn(connection, self._outbox, "turn.started", turn)
        return Claim(turn, claim_no, recovered=row.started_at_ms is not None, lost=row.lost)

    def renew(self, claims: Collection[Claim], *, lease_ms: int) -> set[str]:
        """Renew leases. Returns ids of the turns that are still held; the others are lost."""
        held = and_(turns.c.phase == "running", _CLAIMED)
        renewal = update(turns).where(held).values(lease_until_ms=self._database.now_ms() + lease_ms)
        with self._database.write() as connection:
            return set(connection.scalars(renewal.returning(turns.c.id), {"claims": _pairs(claims)}))

    def called(self, claims: Collection[Claim]) -> tuple[set[str], dict[str, int]]:
        """Which of these turns were asked to stop, and the newest letter of each that has unread ones."""
        ids = [claim.turn_id for claim in claims]
        unread = select(mail.c.turn_id, func.max(mail.c.id)).where(mail.c.turn_id.in_(ids), mail.c.item_id.is_(None))
        with self._database.read() as connection:
            stop = set(connection.scalars(select(turns.c.id).where(turns.c.id.in_(ids), turns.c.interrupted)))
            steer = {row[0]: row[1] for row in connection.execute(unread.group_by(mail.c.turn_id))}
        return stop, steer

    def park(
        self,
        claim: Claim,
        method: str,
        item_id: str,
        params: dict[str, Any],
        keys: Sequence[str],
        *,
        expires_in_ms: int,
    ) -> Approval:
        """Store a question and let go of the turn, in one. Errors: ClaimLost."""
        with self._database.write() as connection:
            fence(connection, [claim])
            values = {
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
            row = connection.execute(insert(approvals).values(values).returning(approvals)).one()
            _let_go(connection, claim.turn_id, "parked")
            approval = approval_from_row(row)
            _tell_of_question(connection, self._outbox, "approval.requested", approval)
        return approval

    def hand_over(self, claims: Collection[Claim]) -> None:
        """Queue turns again for another worker, as a shutdown does; those that are not held any more are left alone."""
        with self._database.write() as connection:
            for turn_id, _ in sorted(held(connection, claims)):
                _let_go(connection, turn_id, "queued")

    # -- moves that the sweep makes

    def all_users_recover(self, *, max_lost: int) -> tuple[list[Turn], list[Turn]]:
        """Queue again what a dead worker held; what was lost too often ends as failed. (queued again, failed)"""
        again, failed = [], []
        with self._database.write() as connection:
            query = select(turns).where(turns.c.phase == "running", turns.c.lease_until_ms < self._database.now_ms())
            for row in connection.execute(query.order_by(turns.c.id).with_for_update(skip_locked=True)).all():
                turn = _from_row(row)
                if row.lost < max_lost:
                    _let_go(connection, turn.id, "queued", lost=row.lost + 1)
                    again.append(turn)
                    continue
                message = f"the turn was given up: {row.lost + 1} workers were lost while they ran it"
                error = turn_error(message, "internalServerError")
                _end_unheld(connection, self._outbox, turn, "failed", error, message)
                failed.append(_get(connection, turn.id))
        return again, failed

    def all_users_expire(self, answer: dict[str, Any]) -> list[Turn]:
        """Answer questions whose time is over. Returns the turns that are queued again."""
        with self._database.write() as connection:
            query = select(approvals.c.id).where(approvals.c.state == "pending", approvals.c.expires_at_ms < now_ms())
            query = query.order_by(approvals.c.id)
            expired = connection.scalars(query).all()
            found = [(_answer(connection, self._outbox, one, answer, None), one) for one in expired]
            for turn, request_id in found:
                if turn is not None:
                    act = Act.of_operator("serverRequest/expire")
                    audit.write(connection, act, thread_id=turn.thread_id, subject_id=str(request_id))
        return [turn for turn, _ in found if turn is not None]

    def all_users_untold(self) -> list[Turn]:
        """Turns that have something to say which nobody published for a while: an end, or a question."""
        before = now_ms() - UNTOLD_FOR_MS
        ended = and_(turns.c.phase == "done", turns.c.announced < 2, turns.c.completed_at_ms < before)
        asks = exists().where(
            approvals.c.turn_id == turns.c.id,
            approvals.c.state == "pending",
            approvals.c.announced < 1,
            approvals.c.created_at_ms < before,
        )
        query = select(turns).where(or_(ended, and_(turns.c.phase == "parked", asks))).order_by(turns.c.id).limit(200)
        with self._database.read() as connection:
            return [_from_row(row) for row in connection.execute(query)]

    def all_users_phases(self) -> dict[str, tuple[int, int]]:
        """Of the turns that are not over, by phase: how many, and for how many ms the oldest waits."""
        query = select(turns.c.phase, func.count(), func.min(turns.c.queued_at_ms)).where(turns.c.phase != "done")
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(turns.c.phase)).all()
        return {phase: (count, max(0, now_ms() - since)) for phase, count, since in rows}

    def all_users_waiting(self) -> int:
        """How many turns wait for a worker."""
        with self._database.read() as connection:
            return connection.scalar(select(func.count()).where(turns.c.phase == "queued")) or 0


def _fairest() -> Select[Any]:
    """The turn to run next. One look at an index for each user who waits, however many turns they have waiting.

    Of the users under their cap, who has the fewest running for their weight; among equals, who waits longest.
    """
    one, later, runs = turns.alias("one"), turns.alias("later"), turns.alias("runs")
    waiting = select(func.min(one.c.owner).label("owner")).where(one.c.phase == _QUEUED).cte("waiting", recursive=True)
    following = select(func.min(later.c.owner)).where(later.c.phase == _QUEUED, later.c.owner > waiting.c.owner)
    waiting = waiting.union_all(select(following.scalar_subquery()).where(waiting.c.owner.is_not(None)))
    running = select(func.count()).where(runs.c.phase == _RUNNING, runs.c.owner == waiting.c.owner).scalar_subquery()
    oldest = select(func.min(one.c.queued_at_ms)).where(one.c.phase == _QUEUED, one.c.owner == waiting.c.owner)
    allowed = func.coalesce(user_limits.c.turns_at_once, bindparam("turns_at_once", type_=BigInteger))
    user = (
        select(waiting.c.owner)
        .outerjoin(user_limits, user_limits.c.owner == waiting.c.owner)
        .where(waiting.c.owner.is_not(None), or_(allowed == 0, running < allowed))
        .order_by(running * 1.0 / func.coalesce(user_limits.c.weight, 1), oldest.scalar_subquery(), waiting.c.owner)
        .limit(1)
        .scalar_subquery()
    )
    return select(turns.c.id).where(turns.c.phase == _QUEUED, turns.c.owner == user).order_by(*_OLDEST).limit(1)


# Said out, and not bound, so that the partial indexes fit.
_QUEUED: ColumnElement[str] = literal_column("'queued'")
_RUNNING: ColumnElement[str] = literal_column("'running'")
_OLDEST = (turns.c.queued_at_ms, turns.c.id)
_WAITING = select(turns.c.id).where(turns.c.phase == _QUEUED).limit(1)
_FAIREST = _fairest()
_TAKEN = select(turns).where(turns.c.id == bindparam("of"), turns.c.phase == _QUEUED).with_for_update()
_CLAIMED = tuple_(turns.c.id, turns.c.claim_no).in_(bindparam("claims", expanding=True))
_HELD = (
    select(turns.c.id, turns.c.claim_no)
    .where(turns.c.phase == "running", _CLAIMED)
    .order_by(turns.c.id)
    .with_for_update()
)
_LOCKED = (
    select(turns.c.id).where(turns.c.id.in_(bindparam("ids", expanding=True))).order_by(turns.c.id).with_for_update()
)
_TURN_BY_ID = update(turns).where(turns.c.id == bindparam("of"))
_THREAD_BY_ID = update(threads).where(threads.c.id == bindparam("of"))
_DUE = threads.c.session_due_at_ms
_BYTES_OF_TURN = select(item_rows.SIZE).where(items.c.turn_id == bindparam("turn")).scalar_subquery()
_THREAD_AT_END = _THREAD_BY_ID.values(
    stored_bytes=threads.c.stored_bytes + _BYTES_OF_TURN,
    session_due_at_ms=case((bindparam("due") > _DUE, _DUE), else_=bindparam("due")),
    **{name: bindparam(name) for name in ("updated_at_ms", "recency_at_ms", "used_at_ms")},
)
_THREAD_OF_END = select(threads.c.settings, threads.c.thread_source).where(threads.c.id == bindparam("of"))
_MAIL_BY_ID = update(mail).where(mail.c.id == bindparam("of"))
_UNREAD = select(mail).where(mail.c.turn_id == bindparam("of"), mail.c.item_id.is_(None)).order_by(mail.c.id)


_BOTH_QUEUES = select(
    func.count().filter(turns.c.owner == bindparam("owner")).label("own"),
    func.min(turns.c.queued_at_ms).filter(turns.c.owner == bindparam("owner")).label("own_oldest"),
    func.count().label("all"),
    func.min(turns.c.queued_at_ms).label("oldest"),
).where(turns.c.phase == _QUEUED)


def _check_queue(connection: Connection, owner: str, queued_limit: int, waiting_limit: int) -> None:
    """Whether one more turn may wait. Errors: Overloaded, with the time in which a place becomes free.

    That time is Little's law: of `n` turns in a queue whose first one has waited for `t`, one leaves every t / n.
    """
    row = connection.execute(_BOTH_QUEUES, {"owner": owner}).one()
    for count, oldest, limit, whose in (
        (row.own, row.own_oldest, queued_limit, "turns of yours are"),
        (row.all, row.oldest, waiting_limit, "turns of this server are"),
    ):
        if limit and count >= limit:
            retry_after_ms = min(max((now_ms() - oldest) // count, RETRY_LEAST_MS), RETRY_MOST_MS)
            raise Overloaded(f"{count} {whose} queued already; retry when some have begun", retry_after_ms)


def _pairs(claims: Collection[Claim]) -> list[tuple[str, int]]:
    return [(claim.turn_id, claim.claim_no) for claim in claims]


def lock(connection: Connection, turn_ids: Collection[str]) -> None:
    """Lock turns, whoever holds them, until the transaction ends."""
    connection.execute(_LOCKED, {"ids": list(turn_ids)})


def held(connection: Connection, claims: Collection[Claim]) -> set[tuple[str, int]]:
    """Lock those of the turns that are held, until the transaction ends; their (id, claim number)s."""
    return {(row.id, row.claim_no) for row in connection.execute(_HELD, {"claims": _pairs(claims)})}


def fence(connection: Connection, claims: Collection[Claim]) -> None:
    """Lock turns that must all be held. Errors: ClaimLost."""
    if len(held(connection, claims)) < len(claims):
        raise ClaimLost("another worker has the turn")


def has_unread(connection: Connection, turn_id: str) -> bool:
    return connection.execute(_UNREAD, {"of": turn_id}).first() is not None


def take_mail(connection: Connection, mail_id: int, item_id: str) -> None:
    connection.execute(_MAIL_BY_ID, {"of": mail_id, "item_id": item_id})


def end(
    connection: Connection, outbox: Outbox, turn: Turn, status: str, error: dict[str, Any] | None, at_ms: int
) -> None:
    """The last move of a turn whose row is locked."""
    over = {"phase": "done", "claimed_by": None, "lease_until_ms": None}
    connection.execute(_TURN_BY_ID, {"of": turn.id, "status": status, "error": error, "completed_at_ms": at_ms, **over})
    used = {"updated_at_ms": at_ms, "recency_at_ms": at_ms, "used_at_ms": at_ms}
    connection.execute(_THREAD_AT_END, {"of": turn.thread_id, "turn": turn.id, "due": at_ms + SESSION_DELAY_MS, **used})
    _tell_of_turn(connection, outbox, f"turn.{status}", replace(turn, status=status))
    if status == "completed" and turn.options.get("kind") not in UNNOTIFIED and outbox.wants(NOTIFY):
        thread = connection.execute(_THREAD_OF_END, {"of": turn.thread_id}).first()
        if thread is not None and thread.thread_source != TITLE_SOURCE:
            outbox.add(connection, NOTIFY, {**_turn_ids(turn), "cwd": thread.settings.get("cwd", "")})


def _tell_of_turn(connection: Connection, outbox: Outbox, event: str, turn: Turn) -> None:
    if outbox.wants(event):
        kind = turn.options.get("kind", "regular")
        outbox.add(connection, event, {**_turn_ids(turn), "status": turn.status, "kind": kind})


def _tell_of_question(connection: Connection, outbox: Outbox, event: str, question: Approval) -> None:
    """Of what a person has to decide; not of a call that the client's program answers."""
    if outbox.wants(event) and question.method != CLIENT_CALL:
        data: dict[str, Any] = {"threadId": question.thread_id, "turnId": question.turn_id, "userId": question.owner}
        data |= {"itemId": question.item_id, "requestId": question.id, "method": question.method}
        outbox.add(connection, event, data | {"state": question.state})


def _turn_ids(turn: Turn) -> dict[str, Any]:
    return {"threadId": turn.thread_id, "turnId": turn.id, "userId": turn.owner}


def letter_row(
    turn: Turn, at_ms: int, position: int, letter: Mail, read_image: Callable[[str], dict[str, Any]] | None = None
) -> Item:
    """A letter as what it becomes: a userMessage, or the open call of a command that the user typed.

    read_image: a path that the user gave as an input part of the model
    """
    if letter.is_command:
        return Item(
            id=new_id(),
            thread_id=turn.thread_id,
            turn_id=turn.id,
            position=position,
            kind="call",
            model_items=letter.input,
            answered=False,
        )
    return Item(
        id=new_id(),
        thread_id=turn.thread_id,
        turn_id=turn.id,
        position=position,
        kind="userMessage",
        item={"clientId": letter.client_id, "content": letter.input},
        model_items=[user_message(letter.input, read_image or name_image)],
        started_at_ms=at_ms,
        completed_at_ms=at_ms,
    )


def name_image(path: str) -> dict[str, Any]:
    """An image by path, named and not opened: the model may ask to see it."""
    return {"type": "input_text", "text": f"[image file in the workspace: {path}]"}


def user_message(
    user_input: Sequence[dict[str, Any]], read_image: Callable[[str], dict[str, Any]] = name_image
) -> dict[str, Any]:
    """UserInput[] as a Responses-API message."""
    content: list[dict[str, Any]] = []
    for part in user_input:
        match part["type"]:
            case "text":
                content.append({"type": "input_text", "text": part["text"]})
            case "image" if not part["url"].startswith(IMAGE_URLS):
                told = f"[an image that is not passed on, only data: and https: URLs are: {part['url'][:200]}]"
                content.append({"type": "input_text", "text": told})
            case "image":
                content.append({"type": "input_image", "image_url": part["url"]})
            case "localImage":
                content.append(read_image(part["path"]))
            case _:
                content.append({"type": "input_text", "text": f"[{part['type']} {part['name']}: {part['path']}]"})
    return {"type": "message", "role": "user", "content": content}


def output_for(call: dict[str, Any], output: str | list[dict[str, Any]]) -> dict[str, Any]:
    """The output item that belongs to a call item."""
    kind = "custom_tool_call_output" if call["type"] == "custom_tool_call" else "function_call_output"
    return {"type": kind, "call_id": call["call_id"], "output": output}


def with_output(call: dict[str, Any], output: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What history keeps of a call that has its output; of a user's own command, that the user says so."""
    if call["type"] != SHELL_COMMAND:
        return [call, output_for(call, output)]
    parts = f"<command>\n{call['command']}\n</command>\n<result>\n{output}\n</result>"
    text = f"<user_shell_command>\n{parts}\n</user_shell_command>"
    return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}]


def _unread(connection: Connection, turn_id: str) -> list[Mail]:
    return [Mail(row.id, row.input, row.client_id) for row in connection.execute(_UNREAD, {"of": turn_id})]


def _end_unheld(
    connection: Connection,
    outbox: Outbox,
    turn: Turn,
    status: str,
    error: dict[str, Any] | None,
    what_happened: str,
) -> None:
    """End a turn that no worker holds: keep what the user said, answer open calls truthfully, drop its questions.

    It counts as a claim, so that whoever held it has no say any more.
    """
    claim_no = _raise_claim_no(connection, turn.thread_id)
    connection.execute(update(turns).where(turns.c.id == turn.id).values(claim_no=claim_no))
    position = item_rows.last_position(connection, turn.thread_id)
    for letter in _unread(connection, turn.id):
        position += 1
        row = letter_row(turn, now_ms(), position, letter)
        item_rows.append(connection, [row])
        take_mail(connection, letter.id, row.id)
    for row in item_rows.read(connection, items.c.turn_id == turn.id, ~items.c.answered):
        begun = "It had begun; its outcome is unknown." if row.begun_at_ms else "It was not run."
        told = with_output(row.model_items[0], f"{what_happened} {begun}")
        item_rows.change(connection, row.id, {"answered": True, "model_items": told})
    dropped = update(approvals).where(approvals.c.turn_id == turn.id, approvals.c.state == "pending")
    questions = connection.execute(dropped.values(state="dropped", answered_at_ms=now_ms()).returning(approvals)).all()
    for question in questions:
        _tell_of_question(connection, outbox, "approval.resolved", approval_from_row(question))
    end(connection, outbox, turn, status, error, now_ms())


def _answer(
    connection: Connection, outbox: Outbox, request_id: int, answer: dict[str, Any], owner: str | None
) -> Turn | None:
    """owner None: the sweep answers for whoever it is."""
    query = select(approvals.c.turn_id).where(approvals.c.id == request_id, approvals.c.state == "pending")
    if owner is not None:
        query = query.where(approvals.c.owner == owner)
    turn_id = connection.scalar(query)
    if turn_id is None:
        return None
    connection.execute(select(turns.c.id).where(turns.c.id == turn_id).with_for_update())
    taken = update(approvals).where(approvals.c.id == request_id, approvals.c.state == "pending")
    values = {"state": "answered", "answer": answer, "answered_at_ms": now_ms()}
    answered = connection.execute(taken.values(values).returning(approvals)).first()
    if answered is None:
        return None
    event = "approval.expired" if owner is None else "approval.resolved"
    _tell_of_question(connection, outbox, event, approval_from_row(answered))
    _let_go(connection, turn_id, "queued")
    return _get(connection, turn_id)


def _check_steerable(turn: Turn, new: NewTurn) -> None:
    """Errors: NotSteerable."""
    kind = turn.options.get("kind")
    if kind in NOT_STEERABLE and not (new.input and new.input[0]["type"] == SHELL_COMMAND):
        raise NotSteerable(kind)


def _raise_claim_no(connection: Connection, thread_id: str) -> int:
    raised = update(threads).where(threads.c.id == thread_id).values(claim_no=threads.c.claim_no + 1)
    return int(connection.execute(raised.returning(threads.c.claim_no)).scalar_one())


def _let_go(connection: Connection, turn_id: str, phase: str, **values: Any) -> None:
    cleared = {"claimed_by": None, "lease_until_ms": None, "queued_at_ms": now_ms()}
    connection.execute(update(turns).where(turns.c.id == turn_id).values(phase=phase, **cleared, **values))


def _lock_active(connection: Connection, thread_id: str, owner: str) -> Turn | None:
    query = select(turns).where(turns.c.thread_id == thread_id, turns.c.owner == owner, turns.c.phase != "done")
    row = connection.execute(query.with_for_update()).first()
    return None if row is None else _from_row(row)


def _get(connection: Connection, turn_id: str) -> Turn:
    return _from_row(connection.execute(select(turns).where(turns.c.id == turn_id)).one())


def _by_client_id(connection: Connection, thread_id: str, client_id: str) -> Turn | None:
    query = (
        select(turns)
        .join(mail, mail.c.turn_id == turns.c.id)
        .where(turns.c.thread_id == thread_id, mail.c.client_id == client_id)
    )
    row = connection.execute(query.limit(1)).first()
    return None if row is None else _from_row(row)


def _insert_turn(connection: Connection, thread_id: str, owner: str, new: NewTurn) -> Turn:
    turn = Turn(new_id(), thread_id, owner, "queued", "inProgress", new.options, now_ms(), client_id=new.client_id)
    connection.execute(insert(turns).values(columns(turn)))
    return turn


def columns(turn: Turn) -> dict[str, Any]:
    """A new turn as a row."""
    return {**{name: getattr(turn, name) for name in _COLUMNS}, "queued_at_ms": turn.created_at_ms}


def read(connection: Connection, *conditions: ColumnElement[bool]) -> list[Turn]:
    """Turns in the order they began in."""
    return [_from_row(row) for row in connection.execute(select(turns).where(*conditions).order_by(turns.c.id))]


def _use_thread(connection: Connection, thread: Thread, new: NewTurn) -> None:
    at_ms = now_ms()
    values: dict[str, Any] = {"updated_at_ms": at_ms, "recency_at_ms": at_ms, "used_at_ms": at_ms, "materialized": True}
    if not thread.preview:
        texts = (part["text"] for part in new.input or () if part["type"] == "text")
        values["preview"] = "\n".join(texts)[:PREVIEW_CHARACTERS]
    connection.execute(update(threads).where(threads.c.id == thread.id).values(values))
    if new.settings:
        save_settings(connection, thread.id, {**thread.settings, **new.settings})


def _from_row(row: Row[Any]) -> Turn:
    return Turn(**{name: row._mapping[name] for name in _COLUMNS})


_COLUMNS = tuple(Turn.__dataclass_fields__)
