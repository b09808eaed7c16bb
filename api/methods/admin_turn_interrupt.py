"""admin/turn/interrupt: stop the turn of somebody's thread. A method of ours, for admins."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import admin
from api.context import Context
from api.params import ThreadParams
from shared.protocol.base import WireSchema

NAME = "admin/turn/interrupt"


class Params(ThreadParams):
    """Shape:  {"threadId": UUIDv7}
    Errors: Forbidden
    """


class Result(WireSchema):
    """Shape: {"interrupted": bool: whether a turn was active in it}"""

    interrupted = fields.Bool(required=True)


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    admin.check_admin(ctx)
    turn = ctx.store.turns.all_users_find_active(params["thread_id"])
    return {"interrupted": turn is not None and admin.interrupt(ctx, turn, NAME)}
