"""thread/revert: take a turn and all later ones back."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.history import newest
from api.params import ThreadParams
from shared.protocol.base import WireSchema
from shared.protocol.thread import thread_object

NAME = "thread/revert"


class Params(ThreadParams):
    """What was said is forgotten; files stay as they are. An active turn is interrupted first.

    Shape:  {"threadId": UUIDv7, "beforeTurnId": UUIDv7}
    Errors: NotFound; InvalidRequest (no such turn); Conflict (its worker does not let go)
    Source: PROTOCOL 5.11
    """

    before_turn_id = fields.Str(required=True)


class Result(WireSchema):
    """The thread without turns, and where its lists end now."""

    thread = fields.Dict()
    turns_backwards_cursor = fields.Str()
    items_backwards_cursor = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"])
    ctx.revert(thread, params["before_turn_id"], ctx.act(NAME))
    turns_cursor, items_cursor = newest(ctx.store, ctx.user_id, thread.id)
    return {
        "thread": thread_object(ctx.get_thread(thread.id)),
        "turns_backwards_cursor": turns_cursor,
        "items_backwards_cursor": items_cursor,
    }
