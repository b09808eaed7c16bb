"""The base of all schemas: members are snake_case in Python and camelCase on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

MAX_ELEMENTS = 10_000  # of a list or an object in params that has no limit of its own
MAX_SHAPES = 1_000  # of such a list whose elements are objects of a known shape: loading one takes about 0.1 ms


def camel_case(name: str) -> str:
    head, *rest = name.split("_")
    if not head:  # such as _meta
        return name
    return head + "".join(word.capitalize() for word in rest)


class WireSchema(Schema):
    """A JSON object of the protocol. Unknown members, such as those of a newer client, are ignored."""

    class Meta:
        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: Any) -> None:
        if field_obj.data_key is None:
            field_obj.data_key = camel_case(field_name)


class BoundedList(fields.List[Any]):
    """A list whose length is checked before its elements are loaded, because that takes much longer."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **settings: Any) -> list[Any]:
        _check_length(self, value, MAX_SHAPES if isinstance(self.inner, fields.Nested) else MAX_ELEMENTS)
        loaded: list[Any] = super()._deserialize(value, attr, data, **settings)
        return loaded


class BoundedDict(fields.Dict):
    """A JSON object whose number of members is checked before they are loaded."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **settings: Any) -> Any:
        _check_length(self, value, MAX_ELEMENTS)
        return super()._deserialize(value, attr, data, **settings)  # type: ignore[no-untyped-call]


def _check_length(field: fields.Field[Any], value: Any, most: int) -> None:
    if isinstance(value, list | dict):
        lengths = [check for check in field.validators if isinstance(check, validate.Length)]
        for check in lengths or [validate.Length(max=most)]:
            check(value)
