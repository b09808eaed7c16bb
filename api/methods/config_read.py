"""config/read: what of the server's configuration clients may know."""

from __future__ import annotations

import dataclasses
from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema

NAME = "config/read"


class Params(ParamsSchema):
    """Shape: {"includeLayers": bool=false}. Source: PROTOCOL 5.12"""

    include_layers = fields.Bool(load_default=False)


class Result(WireSchema):
    """config: keys of config.toml, in snake_case; no addresses, headers or keys of providers."""

    config = fields.Dict()
    origins = fields.Dict()
    layers = fields.Raw()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    config = ctx.config
    shown = {
        "model": config.model,
        "model_provider": config.model_provider,
        "model_context_window": config.model_context_window,
        "model_reasoning_effort": config.model_reasoning_effort,
        "model_reasoning_summary": config.model_reasoning_summary,
        "approval_policy": config.approval_policy,
        "approvals_reviewer": None,
        "sandbox_mode": config.sandbox_mode,
        "sandbox_workspace_write": dataclasses.asdict(config.sandbox_workspace_write),
        "developer_instructions": None,
        "instructions": None,
        "mcp_servers": {},
        "notify": None,
        "tools": None,
        "web_search": None,
    }
    return {"config": shown, "origins": {}, "layers": [] if params["include_layers"] else None}
