"""thread/goal/set: Set a thread's goal, or change its status or its token budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.requests.context import Context
from api.requests.examples import GOAL, ON_THREAD, Example
from api.requests.goals import current_goal
from api.requests.params import ThreadParams
from api.requests.schemas import variant
from shared.clock import now_ms
from shared.errors import InvalidRequest
from shared.events.log import Event
from shared.protocol.thread import GOAL_STATUSES, StoredGoal, ThreadGoal
from shared.store.threads import Thread
from shared.views.thread import total_tokens

NAME = "thread/goal/set"
MAX_OBJECTIVE_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The goal is stored and shown with what was used since. No turn begins by itself to reach it.

    A member that is left out keeps its value. Another objective makes a new goal.

    objective: what the thread is to reach
    Errors: InvalidParams; NotFound; InvalidRequest (the thread has no goal, and no objective is given)
    Source: PROTOCOL 5.11
    """

    objective: Annotated[str, validate.Length(1, MAX_OBJECTIVE_CHARACTERS)] | None = None
    status: Annotated[str, variant(*GOAL_STATUSES)] | None = None
    token_budget: Annotated[int, validate.Range(1)] | None = None


@dataclass(frozen=True)
class Result:
    """The goal after the change."""

    goal: ThreadGoal | None


EXAMPLE = Example(params={**ON_THREAD, "objective": "All tests pass."}, result={"goal": GOAL})


def handle(ctx: Context, params: Params) -> Result:
    thread_id = params.thread_id
    ctx.store.threads.change_goal(thread_id, ctx.user_id, lambda thread: _changed(thread, params))
    shown = current_goal(ctx, ctx.get_thread(thread_id))
    event = Event("thread/goal/updated", {"threadId": thread_id, "turnId": None, "goal": shown})
    ctx.after_reply(ctx.publish, thread_id, event)
    return Result(goal=shown)


def _changed(thread: Thread, params: Params) -> StoredGoal:
    """Return the thread's goal after the change. Errors: InvalidRequest (there is none)."""
    goal, at_ms = thread.goal, now_ms()
    objective = params.objective
    if objective is not None and (goal is None or objective != goal["objective"]):
        goal = {
            "objective": objective,
            "status": "active",
            "tokenBudget": None,
            "tokensBefore": total_tokens(thread),
            "createdAtMs": at_ms,
            "updatedAtMs": at_ms,
        }
    if goal is None:
        raise InvalidRequest(f"thread {thread.id} has no goal; set one with an objective")
    changed: StoredGoal = {**goal, "updatedAtMs": at_ms}
    if params.status is not None:
        changed["status"] = params.status
    if params.token_budget is not None:
        changed["tokenBudget"] = params.token_budget
    return changed
