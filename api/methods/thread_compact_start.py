"""thread/compact/start: Begin a turn that replaces the history with a summary."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams
from api.requests.results import Empty
from shared import telemetry
from shared.store.turns import NewTurn

NAME = "thread/compact/start"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread to compact.

    Errors: NotFound; Conflict (a turn is active, or the thread is archived); Overloaded (too many queued turns)
    Source: PROTOCOL 5.11, 7.7
    """


Result = Empty
EXAMPLE = Example(params=ON_THREAD)


def handle(ctx: Context, params: Params) -> Result:
    new = NewTurn(None, None, {}, telemetry.with_trace({"kind": "compact"}))
    turn = ctx.store.turns.create(
        params.thread_id, ctx.user_id, new, **ctx.turn_limits(), audit_entry=ctx.audit_entry(NAME)
    )
    ctx.after_reply(ctx.enqueue_turn, turn)
    return Result()
