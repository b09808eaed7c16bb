"""admin/user/add: Add a user, who has no key yet. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import USER, Example
from api.requests.params import MethodParams
from shared.errors import Conflict
from shared.store.users import check_chosen_name

NAME = "admin/user/add"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The user.

    name:   1 to 64 ASCII letters, digits and . _ - @ +
    role:   admins may call the admin/ methods
    Errors: Forbidden; InvalidParams (the name); Conflict (the name exists, or the server has no users)
    """

    name: str
    role: Literal["member", "admin"] = "member"


@dataclass(frozen=True)
class Result:
    """The new user; admin/key/create makes a key."""

    user: admin.UserObject


EXAMPLE = Example(params={"name": "ada", "role": "member"}, result={"user": USER})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    check_chosen_name(params.name)
    if not ctx.store.users.exist():  # with the first one the caller, who has no key, would lock themselves out
        raise Conflict(
            "the first user is added on the server's host, because from then on every request needs a key: "
            "`threadhouse users add NAME --role admin`, then `threadhouse keys create NAME`"
        )
    added = ctx.store.users.add(params.name, params.role, audit_entry=ctx.audit_entry(NAME))
    return Result(user=admin.user_object(ctx.store.users.get_by_id(added.id)))
