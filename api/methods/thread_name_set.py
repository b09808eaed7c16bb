"""thread/name/set: name a thread."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ThreadParams
from api.results import Empty
from shared.errors import InvalidRequest
from shared.events import Event

NAME = "thread/name/set"


class Params(ThreadParams):
    """Shape: {"threadId": UUIDv7, "name": str}. Errors: NotFound, InvalidRequest (empty). Source: PROTOCOL 5.11"""

    name = fields.Str(required=True)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    name = params["name"].strip()
    if not name:
        raise InvalidRequest("thread name must not be empty")
    thread_id = ctx.get_thread(params["thread_id"], missing="no rollout found for thread id {}").id
    ctx.store.threads.set_name(thread_id, ctx.user_id, name)
    ctx.after_reply(ctx.publish, thread_id, Event("thread/name/updated", {"threadId": thread_id, "threadName": name}))
    ctx.after_reply(ctx.write_session, thread_id)
    return {}
