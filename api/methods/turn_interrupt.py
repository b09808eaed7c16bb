"""turn/interrupt: Interrupt the active turn, whether it is queued, running or waiting for an approval."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, TURN_ID, Example
from api.requests.params import ThreadParams
from api.requests.results import Empty
from shared.events import turn_signals

NAME = "turn/interrupt"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The turn.

    Errors: NotFound; Conflict (no turn, or another one, is active)
    Source: PROTOCOL 5.4
    """

    turn_id: str


Result = Empty
EXAMPLE = Example(params={**ON_THREAD, "turnId": TURN_ID})


def handle(ctx: Context, params: Params) -> Result:
    turn = ctx.store.turns.interrupt(params.thread_id, ctx.user_id, params.turn_id, audit_entry=ctx.audit_entry(NAME))
    if turn.done:  # no worker had claimed it, so no worker publishes its end
        ctx.after_reply(ctx.publish_turn, turn)
    else:
        ctx.after_reply(ctx.signal_turn, turn_signals.INTERRUPT, turn)
    return Result()
