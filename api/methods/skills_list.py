"""skills/list: none yet, for each folder that was asked about."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema

NAME = "skills/list"


class Params(ParamsSchema):
    """Shape: {"cwds": [path]?}. The paths may be the client's own; they are echoed and never opened."""

    cwds = fields.List(fields.Str(), load_default=[])


class Result(WireSchema):
    """Shape: {"data": [{"cwd", "skills": [], "errors": []}]}. Source: PROTOCOL 5.12"""

    data = fields.List(fields.Dict())


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    return {"data": [{"cwd": cwd, "skills": [], "errors": []} for cwd in params["cwds"]]}
