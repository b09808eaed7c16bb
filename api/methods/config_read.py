"""config/read: what of the configuration clients may know, and which layer it comes from."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import orjson
from marshmallow import fields

from api import user_config
from api.context import Context
from api.params import ParamsSchema
from shared.config import Config
from shared.protocol.base import WireSchema

NAME = "config/read"
SERVER_LAYER = {"type": "enterpriseManaged", "id": "server", "name": "the server's configuration"}
USER_LAYER = {"type": "user", "file": user_config.FILE, "profile": None}
UNSET = (
    "approvals_reviewer",
    "developer_instructions",
    "instructions",
    "notify",
    "service_tier",
    "tools",
    "web_search",
)


class Params(ParamsSchema):
    """Shape: {"includeLayers": bool=false}. Source: PROTOCOL 5.12"""

    include_layers = fields.Bool(load_default=False)


class Result(WireSchema):
    """Keys of config.toml, in snake_case; no addresses, headers or keys of providers.

    Shape: {"config": {key: value}, "origins": {key: {"name", "version"}},
           "layers": [{"name", "version", "config", "disabledReason"}]|null}
    """

    config = fields.Dict()
    origins = fields.Dict()
    layers = fields.Raw()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    own, version = ctx.store.user_configs.get(ctx.user_id)
    server = _server(ctx.config)
    layers = [_layer(USER_LAYER, str(version), own), _layer(SERVER_LAYER, _fingerprint(server), server)]
    origins = {
        key: {"name": layer["name"], "version": layer["version"]} for layer in layers[::-1] for key in layer["config"]
    }
    shown = {**dict.fromkeys(UNSET), "mcp_servers": {}, **server, **own}
    return {"config": shown, "origins": origins, "layers": layers if params["include_layers"] else None}


def _server(config: Config) -> dict[str, Any]:
    shown = {
        "model": config.model,
        "model_provider": config.model_provider,
        "model_context_window": config.model_context_window,
        "model_reasoning_effort": config.model_reasoning_effort,
        "model_reasoning_summary": config.model_reasoning_summary,
        "approval_policy": config.approval_policy,
        "sandbox_mode": config.sandbox_mode,
        "sandbox_workspace_write": dataclasses.asdict(config.sandbox_workspace_write),
    }
    return {key: value for key, value in shown.items() if value is not None}


def _layer(name: dict[str, Any], version: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": version, "config": config, "disabledReason": None}


def _fingerprint(shown: dict[str, Any]) -> str:
    """Changes when what is shown does."""
    return "sha256:" + hashlib.sha256(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)).hexdigest()
