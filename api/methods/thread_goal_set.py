"""thread/goal/set: say what a thread is to reach, or how far that is."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.params import ThreadParams, variant
from shared.clock import now_ms
from shared.errors import InvalidRequest
from shared.events import Event
from shared.protocol.base import WireSchema
from shared.protocol.thread import total_tokens

NAME = "thread/goal/set"
STATUSES = ("active", "paused", "blocked", "usageLimited", "budgetLimited", "complete")
MAX_OBJECTIVE_CHARACTERS = 4000


class Params(ThreadParams):
    """The goal is kept and shown with what was used since; no turn begins by itself to reach it.

    Shape:  {"threadId": UUIDv7, "objective": str?, "status": one of STATUSES?, "tokenBudget": int of 1 or more?}; what
            is left out stays, another objective is a new goal
    Errors: InvalidParams; NotFound; InvalidRequest (the first one has no objective)
    Source: PROTOCOL 5.11
    """

    objective = fields.Str(load_default=None, validate=validate.Length(1, MAX_OBJECTIVE_CHARACTERS))
    status = fields.Str(load_default=None, validate=variant(*STATUSES))
    token_budget = fields.Int(load_default=None, validate=validate.Range(1))


class Result(WireSchema):
    """goal: ThreadGoal"""

    goal = fields.Dict()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"])
    goal, at_ms = thread.goal, now_ms()
    objective = params["objective"]
    if objective is not None and (goal is None or objective != goal["objective"]):
        goal = {
            "objective": objective,
            "status": "active",
            "tokenBudget": None,
            "tokensBefore": total_tokens(thread),
            "createdAtMs": at_ms,
        }
    if goal is None:
        raise InvalidRequest(f"thread {thread.id} has no goal; set one with an objective")
    changed = {"status": params["status"], "tokenBudget": params["token_budget"]}
    told = {name: value for name, value in changed.items() if value is not None}
    ctx.store.threads.set_goal(thread.id, ctx.user_id, {**goal, **told, "updatedAtMs": at_ms})
    shown = ctx.goal(ctx.get_thread(thread.id))
    updated = {"threadId": thread.id, "turnId": None, "goal": shown}
    ctx.after_reply(ctx.publish, thread.id, Event("thread/goal/updated", updated))
    return {"goal": shown}
