"""admin/turn/interrupt: Interrupt the active turn of any user's thread. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.params import ThreadParams

NAME = "admin/turn/interrupt"


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread whose turn to interrupt.

    Errors: Forbidden
    """


@dataclass(frozen=True)
class Result:
    """interrupted: whether a turn was active"""

    interrupted: bool


EXAMPLE = Example(params=ON_THREAD, result={"interrupted": True})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    turn = ctx.store.turns.all_users_find_active(params.thread_id)
    return Result(interrupted=turn is not None and admin.interrupt(ctx, turn, NAME))
