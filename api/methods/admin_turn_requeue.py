"""admin/turn/requeue: Take a turn from its worker for another one. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import TURN_ID, Example
from api.requests.params import MethodParams
from shared.events import turn_signals

NAME = "admin/turn/requeue"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The turn to requeue. A tool call that has begun is not begun again; its worker ends its command.

    Errors: Forbidden
    """

    turn_id: str


@dataclass(frozen=True)
class Result:
    """requeued: whether a worker ran the turn"""

    requeued: bool


EXAMPLE = Example(params={"turnId": TURN_ID}, result={"requeued": True})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    requeued = ctx.store.open_turns.all_users_requeue(params.turn_id, audit_entry=ctx.audit_entry(NAME))
    if requeued:
        ctx.after_reply(turn_signals.publish, ctx.services.redis, turn_signals.REQUEUED, params.turn_id)
    return Result(requeued=requeued)
