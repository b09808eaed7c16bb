"""thread/goal/get: Show a thread's goal, and what was used since it was set."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import GOAL, ON_THREAD, Example
from api.requests.goals import current_goal
from api.requests.params import ThreadParams
from shared.protocol.thread import ThreadGoal

NAME = "thread/goal/get"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread whose goal to return.

    Errors: NotFound
    Source: PROTOCOL 5.11
    """


@dataclass(frozen=True)
class Result:
    """goal: null when the thread has none"""

    goal: ThreadGoal | None


EXAMPLE = Example(params=ON_THREAD, result={"goal": GOAL})


def handle(ctx: Context, params: Params) -> Result:
    return Result(goal=current_goal(ctx, ctx.get_thread(params.thread_id)))
