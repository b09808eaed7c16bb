"""A user's own configuration: which keys users may write, and how a write changes them (DESIGN: who may do what)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import orjson
from marshmallow import Schema, fields

from api.requests.params import load
from api.requests.schemas import variant
from api.requests.settings import (
    CODEX_HOME,
    CONFIG_KEYS,
    CONFIG_OF_COMMANDS,
    MCP_SERVERS,
    PROJECT_DOC_KEYS,
    changes,
    refused_mcp_servers,
)
from api.requests.web_search import WebSearchTool
from shared.config import Config
from shared.config.client_mcp_servers import McpTables, checked_tables
from shared.errors import ConfigWriteRefused, InvalidParams
from shared.key_paths import split_key_path
from shared.protocol.web_search import MODES

FILE = f"{CODEX_HOME}/config.toml"  # the name that clients know the configuration by
MAX_VALUE_CHARACTERS = 20_000
MAX_DEPTH = 6  # of nested tables; the deepest known key needs one less
TABLES = ("hooks", "projects", "shell_environment_policy", "tools", MCP_SERVERS)  # keys whose values are tables
SETTINGS = (*CONFIG_KEYS, *CONFIG_OF_COMMANDS, *PROJECT_DOC_KEYS)  # keys that become settings of new threads


class WebTools(Schema):
    """Keys for tools; `view_image` is stored and shown by config/read, without effect.

    The terminal client exits when config/read shows it other keys than these, or values of another shape.
    """

    web_search = fields.Str(validate=variant(*MODES))
    tools = fields.Nested(Schema.from_dict({"web_search": fields.Nested(WebSearchTool), "view_image": fields.Bool()}))


class Project(Schema):
    """Shape: {"trust_level": "trusted" | "untrusted"}"""

    trust_level = fields.Str(required=True, validate=variant("trusted", "untrusted"))


class Projects(Schema):
    """Which folders the user trusts, so that their `.codex/config.toml` counts (api.requests.project_config)."""

    projects = fields.Dict(keys=fields.Str(), values=fields.Nested(Project))


class HookState(Schema):
    """Shape: {"trusted_hash", "enabled"}. trusted_hash: the hook's `currentHash` of hooks/list, as the user knows it"""

    trusted_hash = fields.Str()
    enabled = fields.Bool()


class Hooks(Schema):
    """Which hooks the user trusts and has left on; key: that of hooks/list. The hooks themselves are in files."""

    hooks = fields.Nested(
        Schema.from_dict({"state": fields.Dict(keys=fields.Str(), values=fields.Nested(HookState))}), required=True
    )


TABLE_SCHEMAS = {"hooks": Hooks, "projects": Projects}


@dataclass(frozen=True, slots=True)
class Edit:
    """One key to write.

    path:   the segments of the key path
    value:  JSON; None removes the key
    merges: whether a table keeps the keys that the value does not have
    """

    path: tuple[str, ...]
    value: object
    merges: bool

    @classmethod
    def of(cls, key_path: str, value: object, merge_strategy: str) -> Edit:
        """Return an edit of config/value/write. Errors: InvalidParams (a key that users may not set)."""
        path = split_key_path(key_path)
        known = path[0] in TABLES or (len(path) == 1 and (path[0] in SETTINGS or path[0] in WebTools().fields))
        if not known or len(path) > MAX_DEPTH:
            allowed = ", ".join(sorted([*SETTINGS, *WebTools().fields, *TABLE_SCHEMAS, MCP_SERVERS]))
            raise InvalidParams(f"{key_path[:200]}: this server does not let users set it; they may set {allowed}")
        return cls(path, _without_nulls(value), merge_strategy == "upsert")


def apply_edits(
    config: Config, owner: str, values: Mapping[str, object], edits: Sequence[Edit]
) -> Mapping[str, object]:
    """Return the user's configuration after all edits, in their order. Errors: InvalidParams (a value)."""
    before = values
    for edit in edits:
        values = _put(values, edit.path, edit)
        _check_size(edit.path[0], values.get(edit.path[0]))
    for key in {edit.path[0] for edit in edits} & values.keys():
        _check(config, owner, key, before.get(key), values[key])
    return values


def check_file(path: str | None) -> None:
    """Check the file that a write names. Errors: ConfigWriteRefused."""
    if path not in (None, FILE):
        raise ConfigWriteRefused(f"filePath: this server writes only {FILE}; leave filePath out", "configLayerReadonly")


def parse_version(expected: str | None) -> int | None:
    """Return the version that a write expects. Errors: InvalidParams (not a version)."""
    if expected is None:
        return None
    if not (expected.isascii() and expected.isdigit() and len(expected) < 10):
        raise InvalidParams("expectedVersion: expected the version of the user's layer, as config/read returns it")
    return int(expected)


def _put(table: Mapping[str, object], path: Sequence[str], edit: Edit) -> Mapping[str, object]:
    key, *rest = path
    old, new = table.get(key), edit.value
    if rest:
        new = _put(old if isinstance(old, dict) else {}, rest, edit) or None
    elif edit.merges and isinstance(old, dict) and isinstance(new, dict):
        new = _merged(old, new)
    others = {name: value for name, value in table.items() if name != key}
    return others if new is None else {**others, key: new}


def _merged(old: Mapping[str, object], new: Mapping[str, object]) -> Mapping[str, object]:
    """Return both tables as one, in which new values win; tables in both are merged in the same way."""
    merged = {**old, **new}
    for name in old.keys() & new.keys():
        inner_old, inner_new = old[name], new[name]
        if isinstance(inner_old, dict) and isinstance(inner_new, dict):
            merged[name] = _merged(inner_old, inner_new)
    return merged


def _without_nulls(value: object, depth: int = MAX_DEPTH) -> object:
    """Return the value without null members, which TOML cannot express. Errors: InvalidParams (nested too deep)."""
    if not isinstance(value, dict):
        return value
    if not depth:
        raise InvalidParams(f"value: tables are nested deeper than {MAX_DEPTH}")
    return {name: _without_nulls(inner, depth - 1) for name, inner in value.items() if inner is not None}


def _check_size(key: str, value: object) -> None:
    if key == MCP_SERVERS:
        checked_tables({} if value is None else value, key)
    elif len(value if isinstance(value, str) else orjson.dumps(value)) > MAX_VALUE_CHARACTERS:
        raise InvalidParams(f"{key}: the value has more than {MAX_VALUE_CHARACTERS} characters")


def _check(config: Config, owner: str, key: str, before: object, value: object) -> None:
    if key == MCP_SERVERS:
        old, new = cast(McpTables, before or {}), cast(McpTables, value)
        changed = {name: table for name, table in new.items() if table != old.get(name)}
        if refused := refused_mcp_servers(config, owner, changed):
            raise InvalidParams(refused[0])
    elif key in SETTINGS:
        changes(config, owner, {"config": {key: value}}, thread_id="")
    else:
        load(TABLE_SCHEMAS.get(key, WebTools)(), cast(object, {key: value}))
