"""The parts of a user's input (PROTOCOL 3.3): their types and the schema that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict

from marshmallow import fields, post_load, validate, validates_schema
from marshmallow.exceptions import ValidationError

from shared.protocol.base import WireSchema

SHELL_COMMAND: Literal["shellCommand"] = "shellCommand"


class TextInput(TypedDict):
    """Text. text_elements: marks of the client in the text, stored and returned unread."""

    type: Literal["text"]
    text: str
    text_elements: NotRequired[Sequence[object]]


class ImageInput(TypedDict):
    """An image by its URL."""

    type: Literal["image"]
    url: str


class LocalImageInput(TypedDict):
    """An image file of the workspace."""

    type: Literal["localImage"]
    path: str


class MentionInput(TypedDict):
    """A skill or a file that the user named."""

    type: Literal["skill", "mention"]
    name: str
    path: str


class ShellCommand(TypedDict):
    """A command that the user typed (thread/shellCommand): not a message, but a call that the turn answers.

    It is stored like input and like a model's call; no client and no model sees this object.
    """

    type: Literal["shellCommand"]
    command: str
    timeoutMs: NotRequired[int | None]


UserInput = TextInput | ImageInput | LocalImageInput | MentionInput
PendingPart = UserInput | ShellCommand

PREVIEW_CHARACTERS = 2000
REQUEST_HEADING = "## My request for Codex:"  # of IDEs, which put what they know of their state before it

MEMBERS = {
    "text": ("text",),
    "image": ("url",),
    "localImage": ("path",),
    "skill": ("name", "path"),
    "mention": ("name", "path"),
}
_TYPES = ", ".join(f"`{name}`" for name in MEMBERS)


def preview(user_input: Sequence[PendingPart]) -> str:
    """Return what lists show of a first message, as the original does; "" when it has nothing to show.

    It is the text behind the heading of an IDE, if there is one, and "[Image]" for images without a text.
    """
    text = "".join(part["text"] for part in user_input if part["type"] == "text")
    _, _, request = text.partition(REQUEST_HEADING)
    shown = (request if REQUEST_HEADING in text else text).strip()
    if not shown and any(part["type"] in ("image", "localImage") for part in user_input):
        return "[Image]"
    return shown[:PREVIEW_CHARACTERS]


class UserInputSchema(WireSchema):
    """One part of an input.

    Shape:  {"type": "text", "text", "text_elements": []=} | {"type": "image", "url"} | {"type": "localImage", "path"}
            | {"type": "skill" | "mention", "name", "path"}; loaded under the same names, text_elements always present
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
