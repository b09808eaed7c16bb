"""Dynamic tools: a thread's client defines them, the model calls them, the client runs them (PROTOCOL 8.4)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict, cast

from marshmallow import fields, post_load, validate
from marshmallow.exceptions import ValidationError

from shared.protocol.base import BoundedList, WireSchema

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # the function names that model APIs accept
MAX_TOOLS = 128
NO_PARAMETERS = {"type": "object", "properties": {}}
# The server's own tools, in the order in which models are offered them: the names of modules in workers/tools.
SERVER_TOOLS = (
    "exec_command",
    "write_stdin",
    "apply_patch",
    "update_plan",
    "view_image",
    "request_user_input",
    "web_search",
)
# Those for the resources of MCP servers, which are offered to threads that have such servers.
MCP_RESOURCE_TOOLS = ("list_mcp_resources", "list_mcp_resource_templates", "read_mcp_resource")
REPLACEABLE = ("web_search",)  # a client's tool of this name takes its place
# Names that no dynamic tool may have.
RESERVED = frozenset((*SERVER_TOOLS, *MCP_RESOURCE_TOOLS, "user_shell")).difference(REPLACEABLE)


class ToolFunction(TypedDict):
    """A function that the model may call. inputSchema: JSON Schema of an object."""

    name: str
    description: str
    inputSchema: Mapping[str, object]


class DynamicTool(TypedDict):
    """A function of the client, or a namespace of functions.

    Shape:  {"type": "function", "name", "description", "inputSchema"}
            | {"type": "namespace", "name", "description", "tools": [ToolFunction]}
    """

    type: Literal["function", "namespace"]
    name: str
    description: str
    inputSchema: NotRequired[Mapping[str, object]]
    tools: NotRequired[Sequence[ToolFunction]]


class FunctionSchema(WireSchema):
    """One function.

    Shape: {"name", "description", "inputSchema": JSON Schema of an object}
    """

    name = fields.Str(required=True)
    description = fields.Str(load_default="")
    input_schema = fields.Dict(load_default=NO_PARAMETERS)

    @post_load
    def as_on_the_wire(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"name": data["name"], "description": data["description"], "inputSchema": data["input_schema"]}


class DynamicToolSchema(FunctionSchema):
    """One member of `dynamicTools`.

    Shape:  {"type": "function", "name", "description", "inputSchema"}
            | {"type": "namespace", "name", "description", "tools": [{"name", "description", "inputSchema"}]}
    """

    type = fields.Str(load_default="function", validate=validate.OneOf(("function", "namespace")))
    tools = BoundedList(fields.Nested(FunctionSchema), load_default=[])

    @post_load
    def as_on_the_wire(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        if data["type"] == "namespace":
            return {name: data[name] for name in ("type", "name", "description", "tools")}
        head = {"type": "function", "name": data["name"], "description": data["description"]}
        return {**head, "inputSchema": data["input_schema"]}


def functions(tools: Sequence[DynamicTool]) -> dict[str, tuple[str | None, ToolFunction]]:
    """Return the name of each function for the model → (its namespace, its definition).

    A function of a namespace is called NAMESPACE__NAME.
    """
    found: dict[str, tuple[str | None, ToolFunction]] = {}
    for tool in tools:
        if tool["type"] == "namespace":
            found |= {f"{tool['name']}__{inner['name']}": (tool["name"], inner) for inner in tool["tools"]}
        else:
            found[tool["name"]] = (None, cast(ToolFunction, tool))
    return found


def check_names(tools: Sequence[DynamicTool]) -> None:
    """Check the names of tools. Errors: ValidationError (two are the same, or a model API would refuse one)."""
    names = functions(tools)
    if len(names) > MAX_TOOLS:
        raise ValidationError(f"more than {MAX_TOOLS} tools; define fewer")
    if len(names) < sum(len(tool["tools"]) if tool["type"] == "namespace" else 1 for tool in tools):
        raise ValidationError("two tools have the same name; rename one of them")
    for name in names:
        if not NAME.fullmatch(name):
            raise ValidationError(f"invalid tool name {name[:80]!r}: expected 1 to 64 ASCII alphanumerics, _ and -")
        if name in RESERVED:
            raise ValidationError(f"`{name}` is a tool of the server; choose another name")
