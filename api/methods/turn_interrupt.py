"""turn/interrupt: stop the turn that runs, or that waits."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ThreadParams
from api.results import Empty
from shared import mailbox

NAME = "turn/interrupt"


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7, "turnId": UUIDv7}
    Errors: NotFound; Conflict (no turn, or another one, is active)
    Source: PROTOCOL 5.4
    """

    turn_id = fields.Str(required=True)


Result = Empty


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    turn = ctx.store.turns.interrupt(params["thread_id"], ctx.user_id, params["turn_id"], act=ctx.act(NAME))
    if turn.done:  # no worker held it: it is over, and nobody else will say so
        ctx.after_reply(ctx.announce, turn)
    else:
        ctx.after_reply(ctx.call_turn, mailbox.INTERRUPT, turn)
    return {}
