"""UserInput: what a person says to a thread (PROTOCOL 3.3)."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_load, validate, validates_schema
from marshmallow.exceptions import ValidationError

from shared.protocol.base import WireSchema

MEMBERS = {
    "text": ("text",),
    "image": ("url",),
    "localImage": ("path",),
    "skill": ("name", "path"),
    "mention": ("name", "path"),
}
_TYPES = ", ".join(f"`{name}`" for name in MEMBERS)


class UserInputSchema(WireSchema):
    """One part of an input.

    Shape:  {"type": "text", "text", "text_elements": []=} | {"type": "image", "url"} | {"type": "localImage", "path"}
            | {"type": "skill" | "mention", "name", "path"}; loaded as the wire shows it, text_elements always there
    Source: PROTOCOL 3.3
    """

    type = fields.Str(
        required=True,
        validate=validate.OneOf(tuple(MEMBERS), error=f"unknown variant `{{input}}`, expected one of {_TYPES}"),
    )
    text = fields.Str()
    text_elements = fields.List(fields.Dict(), data_key="text_elements", allow_none=True)
    url = fields.Str()
    path = fields.Str()
    name = fields.Str()

    @validates_schema
    def has_members(self, data: dict[str, Any], **_: Any) -> None:
        for name in MEMBERS.get(data.get("type", ""), ()):
            if name not in data:
                raise ValidationError({name: ["Missing data for required field."]})

    @post_load
    def only_members(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        part = {"type": data["type"], **{name: data[name] for name in MEMBERS[data["type"]]}}
        if part["type"] == "text":
            part["text_elements"] = data.get("text_elements") or []
        return part
