"""admin/userLimits/read: Read the limits of a user. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import USER_ID, Example
from api.requests.params import MethodParams

NAME = "admin/userLimits/read"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The user.

    Errors: Forbidden; NotFound
    """

    user_id: str


@dataclass(frozen=True)
class Result:
    """used_bytes: what the user's threads occupy in the database"""

    data: Sequence[admin.UserLimitObject]
    used_bytes: int


EXAMPLE = Example(params={"userId": USER_ID}, result={"data": [admin.USER_LIMIT], "usedBytes": 41_200})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    user = ctx.store.users.get_by_id(params.user_id).user
    ctx.store.audit.append(ctx.audit_entry(NAME), subject_id=user.id)
    return Result(
        data=admin.user_limit_objects(ctx.store.limits.own(user.id), ctx.config),
        used_bytes=ctx.store.threads.stored_bytes(user.id),
    )
