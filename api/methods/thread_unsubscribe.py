"""thread/unsubscribe: hear no more of a thread on this connection; its turn goes on."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ThreadParams
from shared.protocol.base import WireSchema

NAME = "thread/unsubscribe"


class Params(ThreadParams):
    """Shape: {"threadId": UUIDv7}; an unknown one is no error. Source: PROTOCOL 5.11"""


class Result(WireSchema):
    """status: "unsubscribed", "notSubscribed" or "notLoaded"."""

    status = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread_id = params["thread_id"]
    if ctx.connection is not None and ctx.services.relay.unfollow(ctx.connection, thread_id):
        return {"status": "unsubscribed"}
    thread = ctx.store.threads.find(thread_id, ctx.user_id)
    return {"status": "notSubscribed" if thread is not None and thread.loaded else "notLoaded"}
