"""admin/user/enable: let a user in again. A method of ours, for admins."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import admin
from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema

NAME = "admin/user/enable"


class Params(ParamsSchema):
    """Shape:  {"userId": UUIDv7}
    Errors: Forbidden; NotFound
    """

    user_id = fields.Str(required=True)


class Result(WireSchema):
    """Shape: {"user": api.admin.shown_user}"""

    user = fields.Dict(required=True)


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    admin.check_admin(ctx)
    account = ctx.store.users.set_disabled(params["user_id"], False, act=ctx.act(NAME))
    return {"user": admin.shown_user(account)}
