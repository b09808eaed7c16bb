"""Responses-API items: what the history for the model is made of, and how inputs and outputs become such items.

Chat models see the same history, translated by `workers/models/chat_completions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NotRequired, Required, TypedDict

from shared.errors import InvalidImage
from shared.images import checked_url, left_out
from shared.protocol.user_input import SHELL_COMMAND, ImageInput, LocalImageInput, ShellCommand, UserInput


class TextPart(TypedDict):
    """Text of a message or of a tool's output."""

    type: Literal["input_text", "output_text"]
    text: str


class ImagePart(TypedDict):
    """An image. image_url: the data URL of an image that was checked."""

    type: Literal["input_image"]
    image_url: str


ContentPart = TextPart | ImagePart


class Message(TypedDict):
    """A message. role: "user", "assistant", "developer" or "system"."""

    type: Literal["message"]
    role: str
    content: str | Sequence[ContentPart]
    phase: NotRequired[str]


class ReasoningPart(TypedDict):
    """One part of a reasoning item."""

    type: Literal["summary_text", "reasoning_text"]
    text: str


class ReasoningItem(TypedDict):
    """Reasoning, without the id that the model's API gave it: with store=false that API does not know it."""

    type: Literal["reasoning"]
    summary: Sequence[ReasoningPart]
    content: NotRequired[Sequence[ReasoningPart]]
    encrypted_content: NotRequired[str]


class FunctionCall(TypedDict):
    """A call of a function tool.

    namespace: of a tool of an MCP server
    arguments: JSON text as the model wrote it
    """

    type: Literal["function_call"]
    name: str
    namespace: NotRequired[str]
    call_id: str
    arguments: str


class CustomToolCall(TypedDict):
    """A call of a freeform tool. input: text as the model wrote it."""

    type: Literal["custom_tool_call"]
    name: str
    call_id: str
    input: str


class CallOutput(TypedDict):
    """The output of a call: text or content parts."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: str
    output: str | Sequence[ContentPart]


class ToolFormat(TypedDict):
    """The grammar that the input of a freeform tool follows."""

    type: Literal["grammar"]
    syntax: str
    definition: str


class ToolDefinition(TypedDict):
    """A tool that a model may call, as the Responses API defines it.

    Shape: {"type": "function", "name", "description", "strict", "parameters": JSON Schema}
           | {"type": "custom", "name", "description", "format"}
    """

    type: Literal["function", "custom"]
    name: str
    description: NotRequired[str]
    strict: NotRequired[bool]
    parameters: NotRequired[Mapping[str, object]]
    format: NotRequired[ToolFormat]


class Namespace(TypedDict):
    """The functions of one MCP server."""

    type: Literal["namespace"]
    name: str
    description: str
    tools: Sequence[ToolDefinition]


class SearchTool(TypedDict, total=False):
    """The Responses API's own tool `web_search`, which the provider runs. The members are those of that API."""

    type: Required[Literal["web_search"]]
    external_web_access: bool
    indexed_web_access: bool
    search_content_types: Sequence[str]
    search_context_size: str
    filters: Mapping[str, object]
    user_location: Mapping[str, object]


class WebSearchCall(TypedDict):
    """A provider's own search: its item as it came, which goes back to the provider unchanged."""

    type: Literal["web_search_call"]
    id: NotRequired[str]
    action: NotRequired[object]


OfferedTool = ToolDefinition | Namespace | SearchTool
ModelCall = FunctionCall | CustomToolCall
OpenCall = ModelCall | ShellCommand  # a row without an output; only a user's own command is no call of the model
ModelItem = Message | ReasoningItem | ModelCall | CallOutput | ShellCommand | WebSearchCall


def text_message(role: str, text: str) -> Message:
    """Return a message of one text that the model reads."""
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


ReadImage = Callable[[ImageInput | LocalImageInput], ContentPart]


def image_part(url: object) -> ContentPart:
    """Return an image as a part of the model's input, or a text that says why it is left out."""
    try:
        return {"type": "input_image", "image_url": checked_url(url)}
    except InvalidImage as error:
        return {"type": "input_text", "text": left_out(error)}


def name_image(part: ImageInput | LocalImageInput) -> ContentPart:
    """Return an image, or a text that names its file without opening it; the model may call view_image."""
    if part["type"] == "image":
        return image_part(part["url"])
    return {"type": "input_text", "text": f"[image file in the workspace: {part['path']}]"}


def user_message(user_input: Sequence[UserInput], read_image: ReadImage = name_image) -> Message:
    """Return the parts of a user's input as one message. read_image: an image of the user → a content part"""
    content: list[ContentPart] = []
    for part in user_input:
        if part["type"] == "text":
            content.append({"type": "input_text", "text": part["text"]})
        elif part["type"] == "image" or part["type"] == "localImage":
            content.append(read_image(part))
        elif part["type"] == "mention":
            content.append({"type": "input_text", "text": f"[mention {part['name']}: {part['path']}]"})
    names = [f"${part['name']}" for part in user_input if part["type"] == "skill"]
    if names and not content:  # the texts of the skills are in a message behind this one
        content.append({"type": "input_text", "text": " ".join(names)})
    return {"type": "message", "role": "user", "content": content}


def call_output(call: ModelCall, output: str | Sequence[ContentPart]) -> CallOutput:
    """Return the output item that answers a call item."""
    if call["type"] == "custom_tool_call":
        return {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": output}
    return {"type": "function_call_output", "call_id": call["call_id"], "output": output}


def answered_call(call: OpenCall, output: str | Sequence[ContentPart]) -> list[ModelItem]:
    """Return what history keeps of a call and its output.

    A command that the user typed becomes a user message that holds the command and its result.
    """
    if call["type"] != SHELL_COMMAND:
        return [call, call_output(call, output)]
    parts = f"<command>\n{call['command']}\n</command>\n<result>\n{output}\n</result>"
    return [text_message("user", f"<user_shell_command>\n{parts}\n</user_shell_command>")]
