"""admin/user/enable: Let a disabled user in again. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import USER, USER_ID, Example
from api.requests.params import MethodParams

NAME = "admin/user/enable"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The user.

    Errors: Forbidden; NotFound
    """

    user_id: str


@dataclass(frozen=True)
class Result:
    """The user after the change."""

    user: admin.UserObject


EXAMPLE = Example(params={"userId": USER_ID}, result={"user": USER})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    account = ctx.store.users.set_disabled(params.user_id, False, audit_entry=ctx.audit_entry(NAME))
    return Result(user=admin.user_object(account))
