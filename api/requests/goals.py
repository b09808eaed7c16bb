"""The goal of a thread, as clients see it."""

from __future__ import annotations

from api.requests.context import Context
from shared.clock import now_ms
from shared.protocol.thread import ThreadGoal
from shared.store.threads import Thread
from shared.views.thread import goal_object


def current_goal(ctx: Context, thread: Thread) -> ThreadGoal | None:
    """Return ThreadGoal with what the thread's turns have used since the goal was set; None: it has no goal."""
    if thread.goal is None:
        return None
    since_ms = thread.goal["createdAtMs"]
    turns = ctx.store.turns.of_thread(thread.id, ctx.user_id)
    begun = [(turn.started_at_ms, turn.completed_at_ms or now_ms()) for turn in turns if turn.started_at_ms]
    return goal_object(thread, sum(end_ms - start_ms for start_ms, end_ms in begun if start_ms >= since_ms))
