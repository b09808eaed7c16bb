"""admin/user/disable: lock a user out; turns go on, unless they are stopped. A method of ours, for admins."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import admin
from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema

NAME = "admin/user/disable"


class Params(ParamsSchema):
    """Shape:  {"userId": UUIDv7, "stopTurns": bool = false: interrupt their turns, queued ones too}
    Errors: Forbidden; NotFound
    """

    user_id = fields.Str(required=True)
    stop_turns = fields.Bool(load_default=False, allow_none=True)


class Result(WireSchema):
    """Shape: {"user": api.admin.shown_user}"""

    user = fields.Dict(required=True)


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    admin.check_admin(ctx)
    account = ctx.store.users.set_disabled(params["user_id"], True, act=ctx.act(NAME))
    if params["stop_turns"]:
        for turn in ctx.store.turns.active(account.user.id):
            admin.interrupt(ctx, turn, NAME)
    return {"user": admin.shown_user(account)}
