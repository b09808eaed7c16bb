"""Params of requests: their schemas' base, and refusals in the original's words (PROTOCOL 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from marshmallow import Schema, ValidationError, fields, pre_load, validate

from shared.errors import InvalidParams
from shared.protocol.base import WireSchema

JSON_TYPES = {bool: "boolean", int: "integer", float: "floating point", str: "string", list: "sequence", dict: "map"}
STORABLE = validate.Range(-(1 << 63), (1 << 63) - 1, error="an integer beyond 64 bits")  # as the databases have them
EXPECTED = {
    "Not a valid string.": "a string",
    "Not a valid integer.": "an integer",
    "Not a valid boolean.": "a boolean",
    "Not a valid list.": "a sequence",
    "Not a valid mapping type.": "a map",
    "Invalid input type.": "a map",
    "Field may not be null.": "a value",
}


class ParamsSchema(WireSchema):
    """Params of a method, or a part of them. An optional member that is null counts as missing: the TUI sends all.

    may_be_missing: whether a request may have no params at all
    """

    may_be_missing = False

    def on_bind_field(self, field_name: str, field_obj: Any) -> None:
        super().on_bind_field(field_name, field_obj)
        if isinstance(field_obj, fields.Integer):  # its list of validators is the class's
            field_obj.validators = [STORABLE, *field_obj.validators]

    @pre_load
    def drop_nulls(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        optional = {field.data_key for field in self.fields.values() if not field.required}
        return {name: value for name, value in data.items() if value is not None or name not in optional}


class NoParams(ParamsSchema):
    """Shape: {} or nothing"""

    may_be_missing = True


class ThreadParams(ParamsSchema):
    """Shape: {"threadId": UUIDv7}"""

    thread_id = fields.Str(required=True)


def variant(*choices: str) -> validate.OneOf:
    """One of a few words."""
    expected = ", ".join(f"`{choice}`" for choice in choices)
    return validate.OneOf(choices, error=f"unknown variant `{{input}}`, expected one of {expected}")


def load(schema: Schema, params: Any) -> dict[str, Any]:
    """Params as the schema has them. Errors: InvalidParams, naming the first member that is wrong."""
    if not isinstance(params, dict):
        raise InvalidParams(f"Invalid request: {_wrong_type(params)}, expected a map")
    try:
        return cast(dict[str, Any], schema.load(params))
    except ValidationError as error:
        raise InvalidParams(f"Invalid request: {_first(error.messages, params)}") from None


def _first(messages: Any, value: Any, name: str = "") -> str:
    """The first complaint of marshmallow's tree, about the value at the same place."""
    if isinstance(messages, list):
        complaint = str(messages[0])
        if complaint == "Missing data for required field.":
            return f"missing field `{name}`"
        if complaint in EXPECTED:
            return f"{_wrong_type(value)}, expected {EXPECTED[complaint]}"
        return complaint if complaint.startswith("unknown variant") else f"{name}: {complaint}"
    key, inner = next(iter(messages.items()))
    if key == "_schema":
        return _first(inner, value, name)
    if isinstance(value, dict):
        value = value.get(key)
    elif isinstance(value, list) and isinstance(key, int) and key < len(value):
        value = value[key]
    return _first(inner, value, str(key))


def _wrong_type(value: Any) -> str:
    if value is None:
        return "invalid type: null"
    shown = f" `{value}`" if isinstance(value, bool | int | float) else ""
    return f"invalid type: {JSON_TYPES[type(value)]}{shown.lower()}"
