"""config/read: Show the configuration that clients may know, and the layer that each key comes from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import orjson

from api.requests import user_config
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from shared.config import Config
from shared.protocol.skills import SETTINGS_KEY, own_settings

NAME = "config/read"


class ServerLayer(TypedDict):
    """The server's configuration, which only its operator can change."""

    type: Literal["enterpriseManaged"]
    id: str
    name: str


class UserLayer(TypedDict):
    """The user's own configuration, which config/value/write changes. file: the path to name in a write"""

    type: Literal["user"]
    file: str
    profile: None


class Origin(TypedDict):
    """The layer that a key comes from. version: for expectedVersion of a write, when it is the user's layer"""

    name: ServerLayer | UserLayer
    version: str


class Layer(Origin):
    """One layer and its keys."""

    config: Mapping[str, object]
    disabledReason: None


SERVER_LAYER: ServerLayer = {"type": "enterpriseManaged", "id": "server", "name": "the server's configuration"}
USER_LAYER: UserLayer = {"type": "user", "file": user_config.FILE, "profile": None}
UNSET = (
    "approvals_reviewer",
    "developer_instructions",
    "instructions",
    "notify",
    "service_tier",
    "tools",
    "web_search",
)


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """What to show.

    include_layers: whether the result has `layers`
    Source: PROTOCOL 5.12
    """

    include_layers: bool = False


@dataclass(frozen=True)
class Result:
    """The configuration, without addresses, headers and keys of model providers.

    config:  keys of config.toml, in snake_case, and their values
    origins: where each key comes from
    layers:  the layers, the strongest first; null unless `includeLayers` is set
    """

    config: Mapping[str, object]
    origins: Mapping[str, Origin]
    layers: Sequence[Layer] | None


EXAMPLE = Example(
    result={
        "config": {"model": "gpt-5.5", "approval_policy": "on-request", "sandbox_mode": "workspace-write"},
        "origins": {
            "model": {
                "name": {"type": "enterpriseManaged", "id": "server", "name": "the server's configuration"},
                "version": "sha256:6ac2ae10bd6d1c8a9ea2e3e8a5a8cd5d7dbd5be10c8f0a4fb6bb1b5f6e9d8c7a",
            }
        },
        "layers": None,
    }
)


def handle(ctx: Context, params: Params) -> Result:
    stored, version = ctx.store.user_configs.get(ctx.user_id)
    own = _without_extra_roots(stored)
    server = _server_keys(ctx.config)
    layers = [_layer(USER_LAYER, str(version), own), _layer(SERVER_LAYER, _fingerprint(server), server)]
    origins: dict[str, Origin] = {
        key: {"name": layer["name"], "version": layer["version"]} for layer in layers[::-1] for key in layer["config"]
    }
    shown = {**dict.fromkeys(UNSET), "mcp_servers": {}, **server, **own}
    return Result(config=shown, origins=origins, layers=layers if params.include_layers else None)


def _without_extra_roots(own: Mapping[str, object]) -> Mapping[str, object]:
    """Return a user's keys without what config.toml of the original cannot have: clients refuse unknown keys."""
    shown = {key: value for key, value in own.items() if key != SETTINGS_KEY}
    switches = own_settings(own).get("config")
    return {**shown, SETTINGS_KEY: {"config": switches}} if switches else shown


def _server_keys(config: Config) -> Mapping[str, object]:
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


def _layer(name: ServerLayer | UserLayer, version: str, config: Mapping[str, object]) -> Layer:
    return {"name": name, "version": version, "config": config, "disabledReason": None}


def _fingerprint(shown: Mapping[str, object]) -> str:
    """Return a version that changes when a value changes."""
    return "sha256:" + hashlib.sha256(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)).hexdigest()
