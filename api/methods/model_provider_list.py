"""modelProvider/list: who serves models here; how they are reached is the operator's business."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import NoParams
from shared.config import OPENAI, SCRIPTED
from shared.protocol.base import WireSchema

NAME = "modelProvider/list"


class Params(NoParams):
    """Shape: {} or nothing"""


class Result(WireSchema):
    """No addresses and no keys.

    Shape: {"data": [{"id", "name", "baseUrl": null, "canEdit": false, "settings"}], "defaultProviderId": str,
           "canChangeDefault": false}
    """

    data = fields.List(fields.Dict())
    default_provider_id = fields.Str()
    can_change_default = fields.Bool()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    names = {name: provider.name for name, provider in ctx.config.model_providers.items()}
    if ctx.config.model_provider == SCRIPTED:
        names = {SCRIPTED: "Scripted", **names}
    data = [
        {"id": name, "name": shown, "baseUrl": None, "canEdit": False, "settings": _settings(name)}
        for name, shown in names.items()
    ]
    return {"data": data, "default_provider_id": ctx.config.model_provider, "can_change_default": False}


def _settings(provider: str) -> dict[str, Any]:
    if provider == OPENAI:
        return {"type": "openai"}
    return {"type": "customGateway", "auth": {"mode": "externallyConfigured"}}
