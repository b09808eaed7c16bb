"""Stop the turn that runs in a thread, and drop turns from a thread's history."""

from __future__ import annotations

import time

from api.requests.context import Context
from shared.errors import InvalidRequest, NotFound
from shared.events import turn_signals
from shared.events.log import Event
from shared.store.audit import AuditEntry
from shared.store.threads import Thread

STOP_SECONDS = 5.0  # that a request waits for a worker to end a turn
STOP_POLL_SECONDS = 0.05


def stop_thread(ctx: Context, thread: Thread) -> None:
    """Stop all that runs in a thread that is about to leave: its active turn, then its background terminals."""
    stop_active_turn(ctx, thread)
    ctx.stop_terminals(thread.id)


def stop_active_turn(ctx: Context, thread: Thread) -> None:
    """Interrupt the thread's active turn, and wait up to STOP_SECONDS until it has ended."""
    if thread.active_turn is None:
        return
    try:
        turn = ctx.store.turns.interrupt(thread.id, ctx.user_id, None)
    except InvalidRequest:  # it ended by itself
        return
    if turn.done:
        ctx.publish_turn(turn)
        return
    ctx.signal_turn(turn_signals.INTERRUPT, turn)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline and not ctx.store.turns.get(turn.id, ctx.user_id).done:
        time.sleep(STOP_POLL_SECONDS)


def revert_thread(ctx: Context, thread: Thread, before_turn_id: str, audit_entry: AuditEntry) -> None:
    """Drop a turn and all later ones; the active turn is interrupted first. Errors: NotFound (the turn)."""
    if ctx.store.turns.get(before_turn_id, ctx.user_id).thread_id != thread.id:
        raise NotFound(f"turn not found: {before_turn_id}")
    stop_active_turn(ctx, thread)
    has_file = ctx.config.server.sessions_dir is not None
    ctx.store.histories.revert(
        thread.id, ctx.user_id, before_turn_id, has_session_file=has_file, audit_entry=audit_entry
    )
    statuses = ({"type": "notLoaded"}, {"type": "idle"})
    events = [Event("thread/status/changed", {"threadId": thread.id, "status": status}) for status in statuses]
    ctx.after_reply(ctx.publish, thread.id, *events, Event("thread/reverted", {"threadId": thread.id}))
