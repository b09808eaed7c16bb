"""configRequirements/read: what this server's operator demands of clients' settings."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import NoParams
from shared.protocol.base import WireSchema

NAME = "configRequirements/read"


class Params(NoParams):
    """Shape: {} or nothing. Source: PROTOCOL 5.12"""


class Result(WireSchema):
    """requirements: none to be kept beforehand; what is not allowed is refused where it is asked for."""

    supports_independent_speed_modes = fields.Bool()
    requirements = fields.Raw()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    return {"supports_independent_speed_modes": True, "requirements": None}
