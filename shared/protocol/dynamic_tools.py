"""Tools that a thread's client has: it defines them, the model calls them, it carries them out (PROTOCOL 8.4)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from marshmallow import fields, post_load, validate
from marshmallow.exceptions import ValidationError

from shared.protocol.base import WireSchema

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what APIs of models let a function be called
MAX_TOOLS = 128
NO_PARAMETERS = {"type": "object", "properties": {}}
# What the server's own tools are called.
RESERVED = frozenset(
    ("exec_command", "write_stdin", "apply_patch", "update_plan", "view_image", "request_user_input", "user_shell")
)


class FunctionSchema(WireSchema):
    """Shape: {"name", "description", "inputSchema": JSON Schema of an object}"""

    name = fields.Str(required=True)
    description = fields.Str(load_default="")
    input_schema = fields.Dict(load_default=NO_PARAMETERS)

    @post_load
    def as_on_the_wire(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"name": data["name"], "description": data["description"], "inputSchema": data["input_schema"]}


class DynamicToolSchema(FunctionSchema):
    """One of `dynamicTools`.

    Shape:  {"type": "function", "name", "description", "inputSchema"}
            | {"type": "namespace", "name", "description", "tools": [{"name", "description", "inputSchema"}]}
    """

    type = fields.Str(load_default="function", validate=validate.OneOf(("function", "namespace")))
    tools = fields.List(fields.Nested(FunctionSchema), load_default=[])

    @post_load
    def as_on_the_wire(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if data["type"] == "namespace":
            return {name: data[name] for name in ("type", "name", "description", "tools")}
        head = {"type": "function", "name": data["name"], "description": data["description"]}
        return {**head, "inputSchema": data["input_schema"]}


def functions(tools: Sequence[dict[str, Any]]) -> dict[str, tuple[str | None, dict[str, Any]]]:
    """What the model calls each function → (its namespace, its definition). In a namespace: NAMESPACE__NAME."""
    found: dict[str, tuple[str | None, dict[str, Any]]] = {}
    for tool in tools:
        if tool["type"] == "namespace":
            found |= {f"{tool['name']}__{one['name']}": (tool["name"], one) for one in tool["tools"]}
        else:
            found[tool["name"]] = (None, tool)
    return found


def check_names(tools: Sequence[dict[str, Any]]) -> None:
    """Errors: ValidationError, for names that a model could not tell apart or its API would refuse."""
    names = functions(tools)
    if len(names) > MAX_TOOLS:
        raise ValidationError(f"more than {MAX_TOOLS} tools")
    if len(names) < sum(len(tool["tools"]) if tool["type"] == "namespace" else 1 for tool in tools):
        raise ValidationError("two tools have the same name")
    for name in names:
        if not NAME.fullmatch(name):
            raise ValidationError(f"not a name of a tool (letters, digits, _ and -, up to 64): {name[:80]!r}")
        if name in RESERVED:
            raise ValidationError(f"`{name}` is a tool of the server")
