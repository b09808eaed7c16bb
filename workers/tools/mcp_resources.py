"""list_mcp_resources, list_mcp_resource_templates, read_mcp_resource: what MCP servers let a thread read."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from shared.errors import ToolError
from shared.protocol.items import McpToolCall
from shared.protocol.model_items import ToolDefinition
from workers.mcp import READY, results
from workers.mcp.errors import McpError
from workers.tools import mcp_tool
from workers.tools.arguments import read_arguments
from workers.tools.base import PreparedCall, ToolCall, ToolContext, ToolResult

if TYPE_CHECKING:
    from workers.mcp.session import McpSession

NAME = "mcp_resources"
PURE = True
PARALLEL = False
LIST, LIST_TEMPLATES, READ = "list_mcp_resources", "list_mcp_resource_templates", "read_mcp_resource"
NO_SERVER = "codex"  # the server of an item that is about all servers, as in the original


def _spec(name: str, description: str, required: Sequence[str], **properties: str) -> ToolDefinition:
    parameters: dict[str, Any] = {
        "type": "object",
        "properties": {key: {"type": "string", "description": text} for key, text in properties.items()},
        "additionalProperties": False,
    }
    if required:
        parameters["required"] = list(required)
    return {"type": "function", "name": name, "description": description, "strict": False, "parameters": parameters}


SPECS = (
    _spec(
        LIST,
        "List what MCP servers let you read: files, database schemas and other data, each with a URI.",
        (),
        cursor="The `nextCursor` of an earlier call with the same server; leave it out for the first page.",
        server="Name of the MCP server; leave it out for all servers.",
    ),
    _spec(
        LIST_TEMPLATES,
        "List patterns of URIs that MCP servers let you read, with parameters to fill in.",
        (),
        cursor="The `nextCursor` of an earlier call with the same server; leave it out for the first page.",
        server="Name of the MCP server; leave it out for all servers.",
    ),
    _spec(
        READ,
        "Read one resource of an MCP server.",
        ("server", "uri"),
        server="Name of the MCP server, as `server` of the list has it.",
        uri="URI of the resource: one of the list, or of a template.",
    ),
)
NAMES = frozenset(spec["name"] for spec in SPECS)
# Name → (method of the server, member of its result, the same in our result).
LISTS = {
    LIST: ("resources/list", "resources"),
    LIST_TEMPLATES: ("resources/templates/list", "resourceTemplates"),
}


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. Item: `mcpToolCall` as it begins."""
    arguments = read_arguments(call.arguments, "err")
    if not all(isinstance(value, str | None) for value in arguments.values()):
        raise ToolError("err: expected an object of strings")
    server = arguments.get("server")
    if call.name == READ and not (server and arguments.get("uri")):
        raise ToolError(f"{READ}: server and uri are needed")
    if server:
        _session(ctx, server)
    return PreparedCall(call, mcp_tool.begun_item(server or NO_SERVER, call.name, arguments, None), data=arguments)


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    """Return a JSON text."""
    name, arguments, item = prepared.call.name, prepared.data, cast(McpToolCall, prepared.item)
    began_at = time.monotonic()
    try:
        found = _read(arguments, ctx) if name == READ else _list(name, arguments, ctx)
    except McpError as error:
        failed = mcp_tool.failed(item, began_at, str(error))
        return ToolResult(str(error), item=failed.item)
    text = results.cut(json.dumps(found, separators=(",", ":"), ensure_ascii=False))
    content = {"content": [{"type": "text", "text": text}]}
    ended: McpToolCall = {
        **item,
        "status": "completed",
        "result": results.stored(content),
        "durationMs": round((time.monotonic() - began_at) * 1000),
    }
    return ToolResult(text, item=ended)


def _read(arguments: Mapping[str, Any], ctx: ToolContext) -> dict[str, Any]:
    server, uri = arguments["server"], arguments["uri"]
    try:
        result = _request(_session(ctx, server), "resources/read", {"uri": uri}, ctx)
    except McpError as error:
        raise McpError(f"resources/read failed: resources/read failed for `{server}` ({uri}): {error}") from None
    return {"server": server, "uri": uri, "contents": result.get("contents", [])}


def _list(name: str, arguments: Mapping[str, Any], ctx: ToolContext) -> dict[str, Any]:
    method, member = LISTS[name]
    if server := arguments.get("server"):
        params = {"cursor": arguments["cursor"]} if arguments.get("cursor") else {}
        try:
            page = _request(_session(ctx, server), method, params, ctx)
        except McpError as error:
            raise McpError(f"{method} failed: {method} failed for `{server}`: {error}") from None
        more = {"nextCursor": page["nextCursor"]} if page.get("nextCursor") else {}
        return {"server": server, member: _named(server, page.get(member)), **more}
    assert ctx.mcp is not None
    found: list[dict[str, Any]] = []
    for server, session in sorted(ctx.mcp.sessions.items()):
        if session.state == READY and "resources" in session.info.get("capabilities", {}):
            seconds = session.server.tool_timeout_sec
            with suppress(McpError):  # the others' lists are returned
                found += _named(server, session.list_all(method, member, timeout_s=seconds, signal=ctx.signal))
    return {member: found}


def _request(session: McpSession, method: str, params: Mapping[str, Any], ctx: ToolContext) -> dict[str, Any]:
    return session.request(method, params, timeout_s=session.server.tool_timeout_sec, signal=ctx.signal)


def _named(server: str, found: Any) -> list[dict[str, Any]]:
    """Return what a server listed, each with the server's name."""
    return [{"server": server, **one} for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _session(ctx: ToolContext, server: str) -> McpSession:
    """Errors: ToolError (the thread has no such server)"""
    session = ctx.mcp.sessions.get(server) if ctx.mcp is not None else None
    if session is None:
        raise ToolError(f"unknown MCP server '{server[:80]}' for the selected environment")
    return session
