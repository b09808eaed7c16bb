"""admin/userLimits/set: Change limits of a user. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import USER_ID, Example
from api.requests.params import MethodParams
from shared.views.user_limits import check_limit, shown_changes

NAME = "admin/userLimits/set"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The user, and what to change; it takes effect within 10 s, and at the next step of a running turn.

    limits: name (admin/userLimits/read) → integer; 0: no limit, null: the default again. Others stay as they are
    Errors: Forbidden; NotFound (the user); InvalidParams (a name or a number)
    """

    user_id: str
    limits: Mapping[str, int | None]


@dataclass(frozen=True)
class Result:
    """data: all limits after the change"""

    data: Sequence[admin.UserLimitObject]


EXAMPLE = Example(
    params={"userId": USER_ID, "limits": {"turns_at_once": 2, "threads": None}}, result={"data": [admin.USER_LIMIT]}
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    for name, value in params.limits.items():
        check_limit(name, value)
    user = ctx.store.users.get_by_id(params.user_id).user
    if params.limits:
        audit_entry = ctx.audit_entry(NAME).with_detail(shown_changes(params.limits))
        ctx.store.limits.change(user.id, params.limits, audit_entry=audit_entry)
    return Result(data=admin.user_limit_objects(ctx.store.limits.own(user.id), ctx.config))
