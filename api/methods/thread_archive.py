"""thread/archive: put a thread away; what runs in it is interrupted."""

from __future__ import annotations

from typing import Any

from api.context import Context
from api.params import ThreadParams
from api.results import Empty
from shared.events import Event

NAME = "thread/archive"


class Params(ThreadParams):
    """Shape: {"threadId": UUIDv7}. Errors: NotFound. Source: PROTOCOL 5.11"""


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"], missing="no rollout found for thread id {}")
    ctx.stop_active_turn(thread)
    ctx.store.threads.archive(thread.id, ctx.user_id, act=ctx.act(NAME))
    ctx.after_reply(
        ctx.publish,
        thread.id,
        Event("thread/status/changed", {"threadId": thread.id, "status": {"type": "notLoaded"}}),
        Event("thread/archived", {"threadId": thread.id}),
    )
    ctx.after_reply(ctx.write_session, thread.id)
    return {}
