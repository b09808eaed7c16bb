"""thread/read: a thread, without following it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.history import turn_objects
from api.params import ThreadParams
from shared.protocol.base import WireSchema
from shared.protocol.thread import thread_object

NAME = "thread/read"


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7, "includeTurns": bool=false}
    Errors: NotFound
    Source: PROTOCOL 5.6
    """

    include_turns = fields.Bool(load_default=False)


class Result(WireSchema):
    """thread: with every turn and its completed items, when they were asked for."""

    thread = fields.Dict()
    read_state = fields.Raw()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"], missing="thread not loaded: {}")
    turns = ctx.store.turns.of_thread(thread.id, ctx.user_id) if params["include_turns"] else []
    objects, _ = turn_objects(ctx.store, ctx.user_id, turns, "full")
    return {"thread": thread_object(thread, objects), "read_state": None}
