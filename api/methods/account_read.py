"""account/read: no login with a model vendor is needed; who one is, the credential says."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema

NAME = "account/read"


class Params(ParamsSchema):
    """Shape: {}"""


class Result(WireSchema):
    """Source: PROTOCOL 5.12"""

    account = fields.Raw()
    user_id = fields.Str()
    requires_openai_auth = fields.Bool()
    workspace_routing = fields.Raw()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    return {"account": None, "user_id": ctx.user_id, "requires_openai_auth": False, "workspace_routing": None}
