"""snake_case in Python, camelCase on the wire, in one place."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema


def camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


class WireSchema(Schema):
    """A JSON object of the protocol. Members that a newer client adds are ignored."""

    class Meta:
        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: Any) -> None:
        if field_obj.data_key is None:
            field_obj.data_key = camel_case(field_name)
