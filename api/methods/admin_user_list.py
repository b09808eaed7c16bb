"""admin/user/list: all users, and how many turns of theirs are not over. A method of ours, for admins."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import admin
from api.context import Context
from api.params import NoParams
from shared.protocol.base import WireSchema

NAME = "admin/user/list"

Params = NoParams


class Result(WireSchema):
    """Oldest first. Shape: {"data": [{"userId", "name", "role", "createdAtMs", "disabledAtMs", "activeTurns": int}]}"""

    data = fields.List(fields.Dict(), required=True)


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    admin.check_admin(ctx)
    ctx.store.audit.append(ctx.act(NAME))
    active = ctx.store.turns.all_users_active()
    accounts = ctx.store.users.accounts()
    return {"data": [{**admin.shown_user(one), "activeTurns": active.get(one.user.id, 0)} for one in accounts]}
