"""Checks of Responses-API items that come from outside, before they become history.

Nothing checks them later: an item without a member would fail each later request to the model, here or at its server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
# Kind → (the members that are texts, the other members that a model is sent again). Ids are another server's.
MEMBERS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "message": (("role",), ("content", "phase")),
    "reasoning": ((), ("summary", "content", "encrypted_content")),
    "function_call": (("call_id", "name", "arguments"), ("namespace",)),
    "custom_tool_call": (("call_id", "name", "input"), ()),
    "function_call_output": (("call_id",), ("output",)),
    "custom_tool_call_output": (("call_id",), ("output",)),
}
OPTIONAL_TEXTS = ("phase", "namespace", "encrypted_content")
ROLES = ("user", "assistant", "developer", "system")
CONTENT_PARTS = ("input_text", "output_text", "input_image")
REASONING_PARTS = ("summary_text", "reasoning_text", "text")


def checked(item: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the members of an item that a model is sent again.

    path:   names the item in errors, such as "items[0]"
    Errors: ValueError, saying which member is wrong
    """
    kind = item.get("type")
    if not isinstance(kind, str) or kind not in MEMBERS:
        raise ValueError(f"{path}.type: expected one of {', '.join(MEMBERS)}")
    texts, others = MEMBERS[kind]
    for name in texts:
        if not isinstance(item.get(name), str):
            raise ValueError(f"{path}.{name}: expected a text")
    for name in OPTIONAL_TEXTS:
        if name in others and not isinstance(item.get(name), str | None):
            raise ValueError(f"{path}.{name}: expected a text or null")
    if kind == "message":
        if item["role"] not in ROLES:
            raise ValueError(f"{path}.role: expected one of {', '.join(ROLES)}")
        _check_parts(f"{path}.content", item.get("content"), CONTENT_PARTS)
    elif kind == "reasoning":
        _check_parts(f"{path}.summary", item.get("summary"), REASONING_PARTS)
        if item.get("content") is not None:
            _check_parts(f"{path}.content", item["content"], REASONING_PARTS)
    elif "output" in others and not isinstance(item.get("output"), str):
        _check_parts(f"{path}.output", item.get("output"), CONTENT_PARTS)
    return {name: item[name] for name in ("type", *texts, *others) if item.get(name) is not None}


def is_part(value: object, kinds: Sequence[str] = (*CONTENT_PARTS, *REASONING_PARTS)) -> bool:
    """Return whether a value is a part of a message, of an output or of reasoning. Says nothing of an image's URL."""
    if not isinstance(value, Mapping) or value.get("type") not in kinds:
        return False
    return value["type"] == "input_image" or isinstance(value.get("text"), str)


def _check_parts(path: str, parts: object, kinds: Sequence[str]) -> None:
    if not isinstance(parts, list):
        raise ValueError(f"{path}: expected a list")
    for index, part in enumerate(parts):
        if not is_part(part, kinds):
            raise ValueError(f"{path}[{index}]: expected a type of {', '.join(kinds)}, and its text or image_url")
