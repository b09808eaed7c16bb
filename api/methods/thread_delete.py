"""thread/delete: remove a thread and all that was said in it; what runs in it is interrupted."""

from __future__ import annotations

from typing import Any

from api.context import Context
from api.params import ThreadParams
from api.results import Empty
from shared.events import Event

NAME = "thread/delete"


class Params(ThreadParams):
    """Shape: {"threadId": UUIDv7}. Errors: NotFound. Source: PROTOCOL 5.11"""


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"], missing="no rollout found for thread id {}")
    ctx.stop_active_turn(thread)
    ctx.store.threads.delete(thread.id, ctx.user_id, act=ctx.act(NAME))
    ctx.after_reply(ctx.publish, thread.id, Event("thread/deleted", {"threadId": thread.id}))
    ctx.after_reply(ctx.services.queue.erase)
    return {}
