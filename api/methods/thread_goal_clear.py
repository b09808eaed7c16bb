"""thread/goal/clear: Remove a thread's goal."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from shared.events.log import Event

NAME = "thread/goal/clear"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread whose goal to remove.

    Errors: NotFound
    Source: PROTOCOL section 6
    """


@dataclass(frozen=True)
class Result:
    """cleared: whether the thread had a goal"""

    cleared: bool


EXAMPLE = Example(params=ON_THREAD, result={"cleared": True})


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    if thread.goal is None:
        return Result(cleared=False)
    ctx.store.threads.change_goal(thread.id, ctx.user_id, lambda _: None)
    ctx.after_reply(ctx.publish, thread.id, Event("thread/goal/cleared", {"threadId": thread.id}))
    return Result(cleared=True)
