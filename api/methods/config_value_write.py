"""config/value/write: set one key of the user's own configuration."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api import settings
from api.context import Context
from api.params import ParamsSchema, variant
from shared.protocol.base import WireSchema

NAME = "config/value/write"


class Params(ParamsSchema):
    """The layer between the server's configuration and what a request asks for, kept for each user.

    Shape:  {"keyPath": one of settings.CONFIG_KEYS, "value": JSON (null removes the key), "mergeStrategy": "replace" |
            "upsert" (alike: no key holds a table), "expectedVersion": str?, "filePath": settings.USER_CONFIG_FILE?}
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
    return write(ctx, NAME, {params["key_path"]: params["value"]}, params)


def write(ctx: Context, name: str, changes: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """The result of both methods that write."""
    version = settings.parse_version(params["expected_version"], params["file_path"])
    settings.check_user_config(ctx.config, ctx.user_id, changes)
    now = ctx.store.user_configs.change(ctx.user_id, changes, version, act=ctx.act(name))
    return {"status": "ok", "version": str(now), "file_path": settings.USER_CONFIG_FILE, "overridden_metadata": None}
