"""How a turn ends: by its worker (`end`), or by a request or the sweep while no worker holds it (`end_unclaimed`)."""

from __future__ import annotations

import logging
from dataclasses import replace

from sqlalchemy import Connection, bindparam, func, select, update

from shared.clock import now_ms
from shared.config.webhooks import NOTIFY
from shared.ids import new_id
from shared.protocol.items import UserMessage
from shared.protocol.model_items import ReadImage, answered_call, name_image, user_message
from shared.protocol.turn import TurnError
from shared.store import items as item_rows
from shared.store.approvals import approval_from_row
from shared.store.connection import DEFERRED
from shared.store.items import Item
from shared.store.outages import is_outage
from shared.store.outbox import Outbox
from shared.store.own_workspace import with_own_workspace
from shared.store.tables import approvals, items, threads, turns
from shared.store.threads import SESSION_DELAY_MS, TITLE_SOURCE
from shared.store.turns import PendingInput, Turn, rows
from shared.store.turns.webhook_events import add_approval_event, add_turn_event, turn_ids

logger = logging.getLogger(__name__)

KINDS_WITHOUT_NOTIFY = ("compact", "shell")  # kinds of turns after which the notify program is not run (PROTOCOL 13)

_TURN_BY_ID = update(turns).where(turns.c.id == bindparam("of")).execution_options(**DEFERRED)
_BYTES_OF_TURN = select(item_rows.SIZE).where(items.c.turn_id == bindparam("turn")).scalar_subquery()
_THREAD_AT_END = (
    update(threads)
    .where(threads.c.id == bindparam("of"))
    .values(
        stored_bytes=threads.c.stored_bytes + _BYTES_OF_TURN,
        session_due_at_ms=func.coalesce(threads.c.session_due_at_ms, bindparam("due")),
        **{name: bindparam(name) for name in ("updated_at_ms", "recency_at_ms", "used_at_ms")},
    )
    .execution_options(**DEFERRED)
)
_THREAD_OF_END = select(threads.c.settings, threads.c.thread_source).where(threads.c.id == bindparam("of"))


def end(connection: Connection, outbox: Outbox, turn: Turn, status: str, error: TurnError | None, at_ms: int) -> None:
    """Make the last move of a turn whose row is locked."""
    over = {"phase": "done", "claimed_by": None, "lease_until_ms": None}
    connection.execute(_TURN_BY_ID, {"of": turn.id, "status": status, "error": error, "completed_at_ms": at_ms, **over})
    used = {"updated_at_ms": at_ms, "recency_at_ms": at_ms, "used_at_ms": at_ms}
    connection.execute(_THREAD_AT_END, {"of": turn.thread_id, "turn": turn.id, "due": at_ms + SESSION_DELAY_MS, **used})
    add_turn_event(connection, outbox, f"turn.{status}", replace(turn, status=status))
    if status == "completed" and turn.options.get("kind") not in KINDS_WITHOUT_NOTIFY and outbox.wants(NOTIFY):
        thread = connection.execute(_THREAD_OF_END, {"of": turn.thread_id}).first()
        if thread is not None and thread.thread_source != TITLE_SOURCE:
            settings = with_own_workspace(connection, turn.owner, turn.thread_id, thread.settings)
            outbox.add(connection, NOTIFY, {**turn_ids(turn), "cwd": settings["cwd"]})


def end_unclaimed(
    connection: Connection,
    outbox: Outbox,
    turn: Turn,
    status: str,
    error: TurnError | None,
    what_happened: str,
) -> None:
    """End a turn that no worker holds: keep the user's input, answer open calls truthfully, drop pending approvals.

    The claim number is raised, so that a worker that still believes to hold the turn can write nothing more. A turn
    whose rows cannot be completed ends without that, so that it holds up no other turn.

    what_happened: a sentence for the model, put before the outcome of each open call
    """
    claim_no = rows.raise_claim_no(connection, turn.thread_id)
    connection.execute(update(turns).where(turns.c.id == turn.id).values(claim_no=claim_no))
    try:
        with connection.begin_nested():
            _complete_rows(connection, outbox, turn, what_happened)
    except Exception as problem:
        if is_outage(problem):
            raise
        logger.exception("rows of a turn not completed, ending it without them", extra={"turn_id": turn.id})
    end(connection, outbox, turn, status, error, now_ms())


def _complete_rows(connection: Connection, outbox: Outbox, turn: Turn, what_happened: str) -> None:
    """Keep the input that a turn has not read, answer its open calls, and drop its pending approvals."""
    position = item_rows.last_position(connection, turn.thread_id)
    for pending in rows.read_pending_inputs(connection, turn.id):
        position += 1
        row = pending_input_item(turn, now_ms(), position, pending)
        item_rows.append(connection, [row])
        rows.consume_pending_input(connection, pending.id, row.id)
    for row in item_rows.read(connection, items.c.turn_id == turn.id, ~items.c.answered):
        outcome = "It had begun; its outcome is unknown." if row.begun_at_ms else "It was not run."
        model_items = answered_call(row.open_call, f"{what_happened} {outcome}")
        item_rows.change(connection, row.id, {"answered": True, "model_items": model_items})
    dropped = update(approvals).where(approvals.c.turn_id == turn.id, approvals.c.state == "pending")
    dropped = dropped.values(state="dropped", answered_at_ms=now_ms())
    for approval in connection.execute(dropped.returning(approvals)).all():
        add_approval_event(connection, outbox, "approval.resolved", approval_from_row(approval))


def pending_input_item(
    turn: Turn,
    at_ms: int,
    position: int,
    pending: PendingInput,
    read_image: ReadImage = name_image,
) -> Item:
    """Return the row that pending input becomes: a userMessage, or the open call of a command that the user typed.

    read_image: an image of the user → what the model gets of it
    """
    command = pending.command
    if command is not None:
        return Item(new_id(), turn.thread_id, turn.id, position, "call", model_items=[dict(command)], answered=False)
    message: UserMessage = {"type": "userMessage", "clientId": pending.client_id, "content": pending.message}
    return Item(
        new_id(),
        turn.thread_id,
        turn.id,
        position,
        "userMessage",
        item={**message},
        model_items=[{**user_message(pending.message, read_image)}],
        started_at_ms=at_ms,
        completed_at_ms=at_ms,
    )
