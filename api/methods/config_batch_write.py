"""config/batchWrite: set several keys of the user's own configuration at once."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from api.context import Context
from api.methods import config_value_write
from api.params import ParamsSchema, variant

NAME = "config/batchWrite"
MAX_EDITS = 64


class Edit(ParamsSchema):
    """Shape: {"keyPath", "value", "mergeStrategy"}, as in config/value/write"""

    key_path = fields.Str(required=True)
    value = fields.Raw(required=True, allow_none=True)
    merge_strategy = fields.Str(required=True, validate=variant("replace", "upsert"))


class Params(ParamsSchema):
    """All edits or none. Threads that exist already keep their settings.

    Shape:  {"edits": [Edit, 0 to 64], "expectedVersion": str?, "filePath": user_config.FILE?}
    Errors: InvalidParams (a key, its value or the file); Conflict (another version is there)
    Source: PROTOCOL 5.12
    """

    edits = fields.List(fields.Nested(Edit), required=True, validate=validate.Length(0, MAX_EDITS))
    expected_version = fields.Str(load_default=None)
    file_path = fields.Str(load_default=None)


Result = config_value_write.Result


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    return config_value_write.write(ctx, NAME, params["edits"], params)
