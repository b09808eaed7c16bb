"""What a client's request does to turns: create, steer, interrupt, answer. All reading of turns is here too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, and_, bindparam, func, insert, or_, select, true, update
from sqlalchemy.engine import Row

from shared.clock import now_ms
from shared.errors import Conflict, InvalidParams, NotFound, NotSteerable, Overloaded
from shared.ids import new_id
from shared.protocol.user_input import SHELL_COMMAND, preview
from shared.store import audit, history_size
from shared.store.approvals import FREE_ANSWERS, MAX_ANSWER_BYTES, TIMEOUT, approval_from_row
from shared.store.audit import AuditEntry
from shared.store.conflicts import retry_conflicts
from shared.store.connection import DEFERRED, Database
from shared.store.outbox import Outbox
from shared.store.tables import approvals, items, pending_inputs, threads, turns
from shared.store.threads import check_id, find_thread, save_settings
from shared.store.turns import NewTurn, Turn, rows
from shared.store.turns.ending import end_unclaimed
from shared.store.turns.rows import QUEUED
from shared.store.turns.webhook_events import add_approval_event

NOT_STEERABLE = ("compact", "review")  # kinds of turns that take no messages; a typed command runs in every turn
NEW_TURN_INDEXES = {"turns_active": "turns.thread_id", "turns_by_client_id": "turns.thread_id, turns.client_id"}
SMALL_INPUT_BYTES = 64 * 1024  # of a message
MIN_RETRY_MS, MAX_RETRY_MS = 1000, 60_000  # bounds of the time after which a refused client should try again


class Turns:
    """The turns of threads and their pending input."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    def create_or_steer(
        self,
        thread_id: str,
        owner: str,
        new: NewTurn,
        *,
        queued_limit: int,
        waiting_limit: int = 0,
        audit_entry: AuditEntry | None = None,
    ) -> tuple[Turn, bool]:
        """Create a turn, or give its input to the thread's active turn. Returns the turn and whether it is new.

        A client_id that the thread has seen already returns the turn that has it, and changes nothing.

        queued_limit, waiting_limit: how many turns of the owner, and of all users, may wait; 0: no limit
        Errors: NotFound, Conflict (archived; the client_id came with other input), NotSteerable, Overloaded (too many
                turns wait)
        """
        return self._create(thread_id, owner, new, (queued_limit, waiting_limit), audit_entry, may_steer=True)

    def create(
        self,
        thread_id: str,
        owner: str,
        new: NewTurn,
        *,
        queued_limit: int,
        waiting_limit: int = 0,
        audit_entry: AuditEntry | None = None,
    ) -> Turn:
        """Create a turn. Errors: NotFound, Conflict (archived, or a turn is active), Overloaded."""
        return self._create(thread_id, owner, new, (queued_limit, waiting_limit), audit_entry, may_steer=False)[0]

    def _create(
        self,
        thread_id: str,
        owner: str,
        new: NewTurn,
        limits: tuple[int, int],
        audit_entry: AuditEntry | None,
        *,
        may_steer: bool,
    ) -> tuple[Turn, bool]:
        check_id(thread_id)

        def write() -> tuple[Turn, bool]:
            with self._database.write() as connection:
                turn, is_new = _create_or_steer(connection, thread_id, owner, new, limits, may_steer)
                if is_new:
                    audit.write(connection, audit_entry, thread_id=thread_id, subject_id=turn.id)
                return turn, is_new

        return retry_conflicts(write, NEW_TURN_INDEXES)

    def steer(self, thread_id: str, owner: str, expected_id: str, new: NewTurn) -> Turn:
        """Give input to the active turn. A client_id that the thread has seen already changes nothing.

        Errors: NotFound, Conflict (no turn or another turn is active; PROTOCOL 2.1), NotSteerable
        """
        check_id(thread_id)
        with self._database.write() as connection:
            active = rows.lock_active(connection, thread_id, owner)
            if find_thread(connection, thread_id, owner) is None:
                raise NotFound(f"thread not found: {thread_id}")
            known = _find_repeated(connection, thread_id, new)
            if known is not None:
                return known
            if active is None:
                raise Conflict("no active turn to steer")
            if active.id != expected_id:
                raise Conflict(f"expected active turn id `{expected_id}` but found `{active.id}`")
            _check_steerable(active, new)
            _add_pending_input(connection, active, new, is_first=False)
            return active

    def interrupt(
        self, thread_id: str, owner: str, expected_id: str | None, *, audit_entry: AuditEntry | None = None
    ) -> Turn:
        """Ask a turn to stop; a turn that no worker holds ends at once. Harmless when repeated.

        expected_id: the turn that must be active; None: any
        Errors:      NotFound, Conflict (no turn or another turn is active; PROTOCOL 2.1)
        """
        check_id(thread_id)
        with self._database.write() as connection:
            active = rows.lock_active(connection, thread_id, owner)
            if find_thread(connection, thread_id, owner) is None:
                raise NotFound(f"thread not found: {thread_id}")
            if active is None:
                raise Conflict("no active turn to interrupt")
            if expected_id is not None and active.id != expected_id:
                raise Conflict(f"expected active turn id {expected_id} but found {active.id}")
            connection.execute(update(turns).where(turns.c.id == active.id).values(interrupted=True))
            audit.write(connection, audit_entry, thread_id=thread_id, subject_id=active.id)
            if active.phase != "running":
                what_happened = "The user interrupted the turn before it ran."
                end_unclaimed(connection, self._outbox, active, "interrupted", None, what_happened)
            return rows.get(connection, active.id)

    def answer(
        self, request_id: int, owner: str, answer: Mapping[str, object], *, audit_entry: AuditEntry | None = None
    ) -> Turn | None:
        """Store the first answer to a server request and queue its turn again. None: the request is not pending."""
        with self._database.write() as connection:
            turn = answer_approval(connection, self._outbox, request_id, answer, owner, audit_entry)
            if turn is not None:
                audit.write(connection, audit_entry, thread_id=turn.thread_id, subject_id=str(request_id))
            return turn

    # -- reading

    def get(self, turn_id: str, owner: str) -> Turn:
        """Return the owner's turn. Errors: NotFound."""
        with self._database.read() as connection:
            row = connection.execute(select(turns).where(turns.c.id == turn_id, turns.c.owner == owner)).first()
        if row is None:
            raise NotFound(f"turn not found: {turn_id[:80]}")
        return rows.from_row(row)

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
        """Return turns, without their options, in the order of their ids, which is the order of their creation.

        after_id:  only turns beyond this one, in that order
        inclusive: after_id itself too
        """
        query = select(*rows.LISTED).where(turns.c.thread_id == thread_id, turns.c.owner == owner)
        if after_id is not None:
            if descending:
                query = query.where(turns.c.id <= after_id if inclusive else turns.c.id < after_id)
            else:
                query = query.where(turns.c.id >= after_id if inclusive else turns.c.id > after_id)
        query = query.order_by(turns.c.id.desc() if descending else turns.c.id.asc()).limit(limit)
        with self._database.read() as connection:
            return [rows.from_row(row) for row in connection.execute(query)]

    def active(self, owner: str) -> list[Turn]:
        """Return the owner's turns that are not done."""
        query = select(turns).where(turns.c.owner == owner, turns.c.phase != "done")
        with self._database.read() as connection:
            return [rows.from_row(row) for row in connection.execute(query)]

    def all_users_count_active(self) -> dict[str, int]:
        """Return owner → how many of their turns are not done."""
        query = select(turns.c.owner, func.count()).where(turns.c.phase != "done").group_by(turns.c.owner)
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def all_users_find_active(self, thread_id: str) -> Turn | None:
        """Return the turn of a thread that is not done, whoever owns it; None: there is none."""
        query = select(turns).where(turns.c.thread_id == thread_id, turns.c.phase != "done")
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else rows.from_row(row)


def answer_approval(
    connection: Connection,
    outbox: Outbox,
    request_id: int,
    answer: Mapping[str, object],
    owner: str | None,
    audit_entry: AuditEntry | None = None,
) -> Turn | None:
    """Store the first answer to a server request and queue its turn again. None: the request is not pending.

    A turn that runs goes on: its worker waits for the answer.

    owner:       whose request it must be; None: the sweep answers, for any user, because the time is over
    audit_entry: says from where the owner answers
    Errors:      InvalidParams (too large for an answer that decides)
    """
    query = select(approvals.c.turn_id, approvals.c.method).where(
        approvals.c.id == request_id, approvals.c.state == "pending"
    )
    if owner is not None:
        query = query.where(approvals.c.owner == owner)
    found = connection.execute(query).first()
    if found is None:
        return None
    turn_id = found.turn_id
    if found.method not in FREE_ANSWERS and len(orjson.dumps(answer)) > MAX_ANSWER_BYTES:
        raise InvalidParams(f"the answer to {found.method} has more than {MAX_ANSWER_BYTES} bytes")
    rows.lock(connection, [turn_id])
    pending = update(approvals).where(approvals.c.id == request_id, approvals.c.state == "pending")
    answered_by = {"via": TIMEOUT, "keyId": None} if owner is None else None
    if audit_entry is not None:
        answered_by = {"via": audit_entry.transport, "keyId": audit_entry.key_id}
    values = {"state": "answered", "answer": answer, "answered_at_ms": now_ms(), "answered_by": answered_by}
    answered = connection.execute(pending.values(values).returning(approvals)).first()
    if answered is None:  # another answer came first
        return None
    event = "approval.expired" if owner is None else "approval.resolved"
    add_approval_event(connection, outbox, event, approval_from_row(answered))
    turn = rows.get(connection, turn_id)
    if turn.phase != "parked":
        return turn
    rows.leave_running(connection, turn_id, "queued")
    return rows.get(connection, turn_id)


def _create_or_steer(
    connection: Connection, thread_id: str, owner: str, new: NewTurn, limits: tuple[int, int], may_steer: bool
) -> tuple[Turn, bool]:
    thread = connection.execute(_LOCKED_THREAD, {"of": thread_id, "owner": owner}).first()
    if thread is None:
        raise NotFound(f"thread not found: {thread_id}")
    active = rows.from_row(thread) if thread.id is not None else None
    if thread.archived_at_ms is not None:
        raise Conflict(f"session {thread_id} is archived. Run thread/unarchive first.")
    known = _find_repeated(connection, thread_id, new)
    if known is not None:
        return known, False
    if active is None:
        _check_queue(thread, *limits)
        turn = _insert_turn(connection, thread_id, owner, new)
    elif not may_steer:
        raise Conflict(f"turn {active.id} is active; wait for its end or interrupt it")
    else:
        _check_steerable(active, new)
        turn = active
    if new.input is not None:
        _add_pending_input(connection, turn, new, is_first=active is None)
    _touch_thread(connection, turn, new, has_preview=thread.has_preview)
    return turn, active is None


_QUEUES = (
    select(
        func.count().filter(turns.c.owner == bindparam("owner")).label("own"),
        func.min(turns.c.queued_at_ms).filter(turns.c.owner == bindparam("owner")).label("own_oldest"),
        func.count().label("all"),
        func.min(turns.c.queued_at_ms).label("oldest"),
    )
    .where(turns.c.phase == QUEUED)
    .subquery("queues")
)
_ACTIVE = rows.LOCKED_ACTIVE.cte("active")
# The thread, which cannot be deleted or archived meanwhile, with its active turn. The turn is locked before the thread,
# as in a claim and a commit: Postgres locks the row of the thread when the row of the result is complete.
_LOCKED_THREAD = (
    select(threads.c.archived_at_ms, (threads.c.preview != "").label("has_preview"), *_QUEUES.c, *_ACTIVE.c)
    .select_from(threads.join(_QUEUES, true()).outerjoin(_ACTIVE, true()))
    .where(threads.c.id == bindparam("of"), threads.c.owner == bindparam("owner"))
    .with_for_update(of=threads)
)


def _check_queue(row: Row[Any], queued_limit: int, waiting_limit: int) -> None:
    """Check that one more turn may wait. Errors: Overloaded, with the time after which a place becomes free.

    row: of _LOCKED_THREAD
    That time is Little's law: of `n` turns in a queue whose first has waited for `t`, one leaves every t / n.
    """
    for count, oldest, limit, whose in (
        (row.own, row.own_oldest, queued_limit, "of yours"),
        (row.all, row.oldest, waiting_limit, "of this server"),
    ):
        if limit and count >= limit:
            retry_after_ms = min(max((now_ms() - oldest) // count, MIN_RETRY_MS), MAX_RETRY_MS)
            turns_are = f"1 turn {whose} is" if count == 1 else f"{count} turns {whose} are"
            raise Overloaded(f"{turns_are} queued already; try again when one has begun", retry_after_ms)


def _check_steerable(turn: Turn, new: NewTurn) -> None:
    """Errors: NotSteerable."""
    kind = turn.options.get("kind")
    is_command = any(part["type"] == SHELL_COMMAND for part in new.input or ())
    if kind in NOT_STEERABLE and not is_command:
        raise NotSteerable(kind)


def _find_repeated(connection: Connection, thread_id: str, new: NewTurn) -> Turn | None:
    """Return the turn that has this input already, by its client_id; None: it is new.

    Errors: Conflict when the client_id came with other input
    """
    if new.client_id is None:
        return None
    sent = and_(pending_inputs.c.turn_id == turns.c.id, pending_inputs.c.client_id == new.client_id)
    query = (
        select(turns, pending_inputs.c.id.label("input_id"), pending_inputs.c.input)
        .outerjoin(pending_inputs, sent)
        .where(turns.c.thread_id == thread_id)
        .where(or_(turns.c.client_id == new.client_id, pending_inputs.c.id.is_not(None)))
    )
    row = connection.execute(query.limit(1)).first()
    if row is None:
        return None
    turn = rows.from_row(row)
    known = row.input if row.input_id is not None else _copied_input(connection, turn.id, new.client_id)
    if known != new.input:
        raise Conflict(
            f"clientUserMessageId {new.client_id[:80]!r} was sent before with other input, in turn {turn.id}; "
            "send a new id with new input"
        )
    return turn


def _copied_input(connection: Connection, turn_id: str, client_id: str) -> object:
    """Return the input of a turn that came with a fork or an import, which copy items and no pending inputs."""
    messages = select(items.c.item).where(items.c.turn_id == turn_id, items.c.kind == "userMessage")
    found = (item for item in connection.scalars(messages) if item["clientId"] == client_id)
    return next((item["content"] for item in found), None)


def _insert_turn(connection: Connection, thread_id: str, owner: str, new: NewTurn) -> Turn:
    turn = Turn(new_id(), thread_id, owner, "queued", "inProgress", new.options, now_ms(), client_id=new.client_id)
    connection.execute(_NEW_TURN, rows.columns(turn))
    return turn


def _add_pending_input(connection: Connection, turn: Turn, new: NewTurn, *, is_first: bool) -> None:
    """Store input. is_first: of its turn; if it is small, the worker checks the history, before it loads its items.

    Input that follows may be small and have any number, while the turn waits or runs a command.
    Errors: HistoryTooLarge
    """
    size = len(orjson.dumps(new.input))
    if new.history_limit and (not is_first or size > min(SMALL_INPUT_BYTES, new.history_limit)):
        _, history_bytes = history_size.read(connection, turn.thread_id)
        history_size.check(history_bytes + size, new.history_limit)
    values = {"turn_id": turn.id, "input": new.input, "client_id": new.client_id, "created_at_ms": now_ms()}
    connection.execute(_NEW_INPUT, values)


def _touch_thread(connection: Connection, turn: Turn, new: NewTurn, *, has_preview: bool) -> None:
    """Mark the thread as used, and store the preview and the settings that come with the input."""
    at_ms = now_ms()
    values: dict[str, Any] = {"updated_at_ms": at_ms, "recency_at_ms": at_ms, "used_at_ms": at_ms, "materialized": True}
    if not has_preview:
        values["preview"] = preview(new.input or ())
    connection.execute(_THREAD_BY_ID, {"of": turn.thread_id, **values})
    if new.settings:
        thread = find_thread(connection, turn.thread_id, turn.owner)
        assert thread is not None  # its row is locked
        save_settings(connection, thread.id, {**thread.settings, **new.settings})


_NEW_TURN = insert(turns).execution_options(**DEFERRED)
_NEW_INPUT = insert(pending_inputs).inline().execution_options(**DEFERRED)
_THREAD_BY_ID = update(threads).where(threads.c.id == bindparam("of")).execution_options(**DEFERRED)
