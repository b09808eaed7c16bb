"""thread/compact/start: a turn that puts a summary in the place of the history."""

from __future__ import annotations

from typing import Any

from api.context import Context
from api.params import ThreadParams
from api.results import Empty
from shared import telemetry
from shared.store.turns import NewTurn

NAME = "thread/compact/start"


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7}
    Errors: NotFound; Conflict (a turn is active, or the thread is archived); Overloaded (too many queued turns)
    Source: PROTOCOL 5.11, 7.7
    """


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    new = NewTurn(None, None, {}, {"kind": "compact", **telemetry.carried()})
    turn = ctx.store.turns.create(params["thread_id"], ctx.user_id, new, **ctx.room_for_turn(), act=ctx.act(NAME))
    ctx.after_reply(ctx.ring, turn)
    return {}
