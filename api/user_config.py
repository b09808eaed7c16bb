"""A user's own configuration: the keys they may write, and how a write changes them (DESIGN: who may do what)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from marshmallow import Schema, fields

from api.params import load, variant
from api.settings import CODEX_HOME, CONFIG_KEYS, changes
from shared.config import Config
from shared.errors import InvalidParams

FILE = f"{CODEX_HOME}/config.toml"  # the name that clients know it by
MAX_VALUE_CHARACTERS = 20_000
MAX_DEPTH = 6  # tables in tables: one more than there are
TABLE = "tools"  # the one key whose value is a table


class Location(Schema):
    """Shape: {"country", "region", "city", "timezone": str}"""

    country = fields.Str()
    region = fields.Str()
    city = fields.Str()
    timezone = fields.Str()


class WebSearchTool(Schema):
    """Shape: {"context_size", "allowed_domains": [str], "location"}"""

    context_size = fields.Str(validate=variant("low", "medium", "high"))
    allowed_domains = fields.List(fields.Str())
    location = fields.Nested(Location)


class WebTools(Schema):
    """Keys for tools that there are not yet: kept, shown by config/read, and without a meaning.

    The terminal client ends when it is shown others than these, or of another shape.
    """

    web_search = fields.Str(validate=variant("disabled", "cached", "indexed", "live"))
    tools = fields.Nested(Schema.from_dict({"web_search": fields.Nested(WebSearchTool), "view_image": fields.Bool()}))


@dataclass(frozen=True, slots=True)
class Edit:
    """One key to write. path: its words; value: None removes it; merges: whether a table keeps what is not named."""

    path: tuple[str, ...]
    value: Any
    merges: bool

    @classmethod
    def of(cls, key_path: str, value: Any, merge_strategy: str) -> Edit:
        """An edit of config/value/write. Errors: InvalidParams (a key that users may not set)."""
        path = tuple(key_path.split("."))
        known = path[0] == TABLE or (len(path) == 1 and (path[0] in CONFIG_KEYS or path[0] in WebTools().fields))
        if not known or len(path) > MAX_DEPTH:
            raise InvalidParams(f"{key_path[:200]}: this server does not let users set it")
        return cls(path, _without_nulls(value), merge_strategy == "upsert")


def edited(config: Config, owner: str, values: dict[str, Any], edits: list[Edit]) -> dict[str, Any]:
    """The user's configuration after the edits, one behind the other. Errors: InvalidParams (a value)."""
    for edit in edits:
        values = _put(values, edit.path, edit)
    for key in {edit.path[0] for edit in edits} & values.keys():
        _check(config, owner, key, values[key])
    return values


def parse_version(expected: str | None, file_path: str | None) -> int | None:
    """The version that a write expects. Errors: InvalidParams (it is none of ours, or the file is another one)."""
    if file_path not in (None, FILE):
        raise InvalidParams(f"filePath: this server writes no file but {FILE}")
    if expected is None:
        return None
    if not (expected.isascii() and expected.isdigit() and len(expected) < 10):
        raise InvalidParams("expectedVersion: no version of the user's configuration")
    return int(expected)


def _put(table: dict[str, Any], path: tuple[str, ...], edit: Edit) -> dict[str, Any]:
    key, *rest = path
    old, new = table.get(key), edit.value
    if rest:
        new = _put(old if isinstance(old, dict) else {}, tuple(rest), edit) or None
    elif edit.merges and isinstance(old, dict) and isinstance(new, dict):
        new = _merged(old, new)
    others = {name: value for name, value in table.items() if name != key}
    return others if new is None else {**others, key: new}


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    both = {name for name in old.keys() & new.keys() if isinstance(old[name], dict) and isinstance(new[name], dict)}
    return {**old, **new, **{name: _merged(old[name], new[name]) for name in both}}


def _without_nulls(value: Any, depth: int = MAX_DEPTH) -> Any:
    """A table as TOML could hold it. Errors: InvalidParams (too many tables in tables)."""
    if not isinstance(value, dict):
        return value
    if not depth:
        raise InvalidParams(f"value: more than {MAX_DEPTH} tables in each other")
    return {name: _without_nulls(inner, depth - 1) for name, inner in value.items() if inner is not None}


def _check(config: Config, owner: str, key: str, value: Any) -> None:
    if len(value if isinstance(value, str) else orjson.dumps(value)) > MAX_VALUE_CHARACTERS:
        raise InvalidParams(f"{key}: more than {MAX_VALUE_CHARACTERS} characters")
    if key in CONFIG_KEYS:
        changes(config, owner, {"config": {key: value}})
    else:
        load(WebTools(), {key: value})
