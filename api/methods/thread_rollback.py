"""thread/rollback: what older clients say for thread/revert."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.history import turn_objects
from api.params import ThreadParams
from api.results import ThreadResult
from shared.protocol.thread import thread_object

NAME = "thread/rollback"


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7, "numTurns": int of 1 or more; with more than there are, all go}
    Errors: NotFound; Conflict (its worker does not let go)
    Source: PROTOCOL 5.11
    """

    num_turns = fields.Int(required=True, validate=validate.Range(1))


Result = ThreadResult


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread = ctx.get_thread(params["thread_id"])
    last = ctx.store.turns.of_thread(thread.id, ctx.user_id, descending=True, limit=params["num_turns"])
    if last:
        ctx.revert(thread, last[-1].id, ctx.act(NAME))
    turns = ctx.store.turns.of_thread(thread.id, ctx.user_id)
    objects, _ = turn_objects(ctx.store, ctx.user_id, turns, "full")
    return {"thread": thread_object(ctx.get_thread(thread.id), objects)}
