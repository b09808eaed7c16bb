"""admin/user/disable: Lock a user out, and end their turns if asked. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import END_MS, USER, USER_ID, Example
from api.requests.params import MethodParams

NAME = "admin/user/disable"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The user.

    stop_turns: whether to interrupt the user's turns, queued ones included
    Errors:     Forbidden; NotFound
    """

    user_id: str
    stop_turns: bool = False


@dataclass(frozen=True)
class Result:
    """The user after the change."""

    user: admin.UserObject


EXAMPLE = Example(params={"userId": USER_ID, "stopTurns": True}, result={"user": {**USER, "disabledAtMs": END_MS}})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    account = ctx.store.users.set_disabled(params.user_id, True, audit_entry=ctx.audit_entry(NAME))
    if params.stop_turns:
        for turn in ctx.store.turns.active(account.user.id):
            admin.interrupt(ctx, turn, NAME)
    return Result(user=admin.user_object(account))
