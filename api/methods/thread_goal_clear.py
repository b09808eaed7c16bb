"""thread/goal/clear: forget what a thread was to reach."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ThreadParams
from shared.events import Event
from shared.protocol.base import WireSchema

NAME = "thread/goal/clear"


class Params(ThreadParams):
    """Shape: {"threadId": UUIDv7}. Errors: NotFound. Source: PROTOCOL section 6"""


class Result(WireSchema):
    """cleared: whether there was one."""

    cleared = fields.Bool()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"])
    if thread.goal is None:
        return {"cleared": False}
    ctx.store.threads.set_goal(thread.id, ctx.user_id, None)
    ctx.after_reply(ctx.publish, thread.id, Event("thread/goal/cleared", {"threadId": thread.id}))
    return {"cleared": True}
