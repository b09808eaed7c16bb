"""admin/user/list: List all users and the number of their active turns. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import USER, Example
from api.requests.params import NoParams

NAME = "admin/user/list"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params.

    Errors: Forbidden
    """


class UserWithTurns(admin.UserObject):
    """A user. activeTurns: turns that are queued, running or waiting for an approval"""

    activeTurns: int


@dataclass(frozen=True)
class Result:
    """data: all users, oldest first"""

    data: Sequence[UserWithTurns]


EXAMPLE = Example(result={"data": [{**USER, "activeTurns": 1}]})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    ctx.store.audit.append(ctx.audit_entry(NAME))
    active = ctx.store.turns.all_users_count_active()
    accounts = ctx.store.users.accounts()
    return Result(
        data=[{**admin.user_object(account), "activeTurns": active.get(account.user.id, 0)} for account in accounts]
    )
