"""thread/unarchive: bring a thread back."""

from __future__ import annotations

from typing import Any

from api.context import Context
from api.params import ThreadParams
from api.results import ThreadResult
from shared.events import Event
from shared.protocol.thread import thread_object

NAME = "thread/unarchive"


class Params(ThreadParams):
    """Shape: {"threadId": UUIDv7}. Errors: NotFound, Conflict (it is not archived). Source: PROTOCOL 5.11"""


Result = ThreadResult


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread_id = ctx.get_thread(params["thread_id"], missing="no archived rollout found for thread id {}").id
    thread = ctx.store.threads.unarchive(thread_id, ctx.user_id, act=ctx.act(NAME))
    ctx.after_reply(ctx.publish, thread_id, Event("thread/unarchived", {"threadId": thread_id}))
    ctx.after_reply(ctx.write_session, thread_id)
    return {"thread": thread_object(thread)}
