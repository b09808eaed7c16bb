"""Params of requests: the base of their dataclasses, and how they are loaded (error texts: PROTOCOL 2.1).

The schema of a method's params is made from its dataclass by api.requests.schemas. An optional member that is null
counts as missing, because the terminal client sends every member.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from marshmallow import Schema, ValidationError, fields, post_load, pre_load, validate

from api.requests.schemas import schema_of
from shared.errors import InvalidParams
from shared.protocol.base import WireSchema

MAX_LABEL_CHARACTERS = 1000
Label = Annotated[str, validate.Length(max=MAX_LABEL_CHARACTERS)]  # a short text that lists and events carry

JSON_TYPES = {bool: "boolean", int: "integer", float: "floating point", str: "string", list: "sequence", dict: "map"}
STORABLE = validate.Range(-(1 << 63), (1 << 63) - 1, error="an integer beyond 64 bits")  # the range of database columns
EXPECTED = {
    "Not a valid string.": "a string",
    "Not a valid integer.": "an integer",
    "Not a valid boolean.": "a boolean",
    "Not a valid list.": "a sequence",
    "Not a valid mapping type.": "a map",
    "Invalid input type.": "a map",
    "Field may not be null.": "a value",
}

Loaded = TypeVar("Loaded")


class ParamsSchema(WireSchema):
    """Params of a method, or a part of them. An optional member that is null counts as missing.

    shape: the dataclass that a loaded value becomes; None for a dict
    """

    shape: ClassVar[type | None] = None

    def on_bind_field(self, field_name: str, field_obj: Any) -> None:
        super().on_bind_field(field_name, field_obj)
        if isinstance(field_obj, fields.Integer):  # a new list: the field shares its list of validators with the class
            field_obj.validators = [STORABLE, *field_obj.validators]

    @pre_load
    def drop_nulls(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        optional = {field.data_key for field in self.fields.values() if not field.required}
        return {name: value for name, value in data.items() if value is not None or name not in optional}

    @post_load
    def as_shape(self, data: dict[str, Any], **_: Any) -> Any:
        return data if self.shape is None else self.shape(**data)


@dataclass(frozen=True, kw_only=True)
class MethodParams:
    """The base of every method's params.

    may_be_missing: whether a request may leave out `params`
    refuses_unknown: whether a member that the method does not know is an error: it might be a filter, and a list
        without a filter that the client relies on would be wrong
    """

    may_be_missing: ClassVar[bool] = False
    refuses_unknown: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class NoParams(MethodParams):
    """Shape: {} or nothing"""

    may_be_missing: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class ThreadParams(MethodParams):
    """Shape: {"threadId": UUIDv7}"""

    thread_id: str


@cache
def params_schema(shape: type) -> Schema:
    """Return the schema that loads a params dataclass."""
    return schema_of(shape, ParamsSchema)()


def load_params(shape: type[Loaded], params: Any) -> Loaded:
    """Return a request's params as the dataclass. Errors: InvalidParams, naming the first member that is wrong."""
    kind: Any = shape
    schema = params_schema(kind)
    if getattr(shape, "refuses_unknown", False) and isinstance(params, dict):
        known = [field.data_key for field in schema.fields.values()]
        for name in params:
            if name not in known and params[name] is not None:
                expected = ", ".join(f"`{one}`" for one in known)
                raise InvalidParams(f"Invalid request: unknown field `{name[:200]}`, expected one of {expected}")
    loaded: Loaded = load(schema, params)
    return loaded


def load(schema: Schema, params: Any) -> Any:
    """Return a JSON object as the schema loads it. Errors: InvalidParams, naming the first member that is wrong."""
    if not isinstance(params, dict):
        raise InvalidParams(f"Invalid request: {_wrong_type(params)}, expected a map")
    try:
        return schema.load(params)
    except ValidationError as error:
        raise InvalidParams(f"Invalid request: {_first(error.messages, params)}") from None


def _first(messages: Any, value: Any, name: str = "") -> str:
    """Return the first message of marshmallow's tree of errors, as a text about the value at the same position."""
    if isinstance(messages, list):
        message = str(messages[0])
        if message == "Missing data for required field.":
            return f"missing field `{name}`"
        if message in EXPECTED:
            return f"{_wrong_type(value)}, expected {EXPECTED[message]}"
        return message if message.startswith("unknown variant") else f"{name}: {message}"
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
