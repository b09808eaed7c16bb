"""config/value/write: set one key of the user's own configuration."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import user_config
from api.context import Context
from api.params import ParamsSchema, variant
from shared.protocol.base import WireSchema

NAME = "config/value/write"


class Params(ParamsSchema):
    """The layer between the server's configuration and what a request asks for, kept for each user.

    Shape:  {"keyPath": one of settings.CONFIG_KEYS, "web_search", or "tools" and dotted keys in it, "value": JSON (null
            removes the key), "mergeStrategy": "replace" | "upsert" (a table keeps what is not named),
            "expectedVersion": str?, "filePath": user_config.FILE?}
    Keeps:  web_search and tools, which mean nothing yet: there are no such tools
    Errors: InvalidParams (the key, its value or the file); Conflict (another version is there)
    Source: PROTOCOL 5.12
    """

    key_path = fields.Str(required=True)
    value = fields.Raw(required=True, allow_none=True)
    merge_strategy = fields.Str(required=True, validate=variant("replace", "upsert"))
    expected_version = fields.Str(load_default=None)
    file_path = fields.Str(load_default=None)


class Result(WireSchema):
    """version: of the user's configuration from now on."""

    status = fields.Str()
    version = fields.Str()
    file_path = fields.Str()
    overridden_metadata = fields.Raw()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    return write(ctx, NAME, [params], params)


def write(ctx: Context, name: str, asked: list[dict[str, Any]], params: dict[str, Any]) -> dict[str, Any]:
    """The result of both methods that write."""
    version = user_config.parse_version(params["expected_version"], params["file_path"])
    edits = [user_config.Edit.of(edit["key_path"], edit["value"], edit["merge_strategy"]) for edit in asked]

    def change(values: dict[str, Any]) -> dict[str, Any]:
        return user_config.edited(ctx.config, ctx.user_id, values, edits)

    now = ctx.store.user_configs.change(ctx.user_id, change, version, act=ctx.act(name))
    return {"status": "ok", "version": str(now), "file_path": user_config.FILE, "overridden_metadata": None}
