"""permissionProfile/list: the named sandbox modes, and which of them the user may ask for."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import settings
from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema

NAME = "permissionProfile/list"


class Params(ParamsSchema):
    """Shape: {}; there is one short page. Source: PROTOCOL 5.12"""


class Result(WireSchema):
    """Shape: {"data": [{"id", "description": null, "allowed": bool}], "nextCursor": null}"""

    data = fields.List(fields.Dict())
    next_cursor = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    may = settings.allowed_modes(ctx.config, ctx.user_id)
    profiles = [{"id": name, "description": None, "allowed": mode in may} for name, mode in settings.PROFILES.items()]
    return {"data": profiles, "next_cursor": None}
