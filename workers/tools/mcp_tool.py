"""Tools of MCP servers: a call becomes a `tools/call` of the server (EXTENSIONS 4)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from shared.errors import ToolError
from shared.protocol.items import McpToolCall
from shared.protocol.server_requests import ELICITATION, ClientAnswer, ElicitationParams
from workers.mcp import results
from workers.mcp.errors import McpError, McpStopped
from workers.mcp.offered_tools import McpTool
from workers.tools.arguments import read_arguments
from workers.tools.base import PreparedCall, ToolCall, ToolContext, ToolResult

NAME = "mcp_tool"
MAX_ARGUMENTS_BYTES = 512 * 1024
STOPPED = "The call was stopped while the MCP server worked on it; what it did is not known."


@dataclass(frozen=True, slots=True)
class CalledMcpTool:
    """The tool of a server that a call names, with the members of `base.Tool`."""

    tool: McpTool
    NAME = NAME

    @property
    def PURE(self) -> bool:
        return self.tool.may_repeat

    @property
    def PARALLEL(self) -> bool:
        return self.tool.server.supports_parallel_tool_calls

    def prepare(self, call: ToolCall, ctx: ToolContext) -> PreparedCall:
        """Prepare the call. Item: `mcpToolCall` as it begins."""
        if len(call.arguments) > MAX_ARGUMENTS_BYTES:
            raise ToolError(f"err: the arguments have more than {MAX_ARGUMENTS_BYTES} characters")
        arguments = read_arguments(call.arguments, "err")
        item = begun_item(self.tool.server.name, self.tool.name, arguments, self.tool.read_only)
        return PreparedCall(call, item, mcp_tool=self.tool, data=arguments)

    def run(self, prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
        """Call the tool. A failure of the server is a result that the model reads."""
        tool, item = self.tool, cast(McpToolCall, prepared.item)
        began_at = time.monotonic()
        meta = {"callId": prepared.call.call_id, **ctx.call_meta}
        try:
            result = tool.session.request(
                "tools/call",
                {"name": tool.name, "arguments": prepared.data, "_meta": meta},
                timeout_s=tool.server.tool_timeout_sec,
                signal=ctx.signal,
                ask=asker(ctx, tool.server.name),
            )
        except McpStopped:
            return failed(item, began_at, STOPPED)
        except McpError as error:
            text = f"tool call error: tool call failed for `{item['server']}/{item['tool']}`\n\nCaused by:\n    {error}"
            return failed(item, began_at, text)
        seconds = time.monotonic() - began_at
        ended: McpToolCall = {
            **item,
            "status": "failed" if result.get("isError") is True else "completed",
            "result": results.stored(result),
            "durationMs": round(seconds * 1000),
        }
        return ToolResult(results.output_of(result, seconds), item=ended)


def find(call: ToolCall, ctx: ToolContext) -> CalledMcpTool | None:
    """Return the tool that a call names; None: the thread's servers have none."""
    tool = ctx.mcp.find(call.namespace, call.name) if ctx.mcp is not None else None
    return CalledMcpTool(tool) if tool is not None else None


def begun_item(server: str, tool: str, arguments: object, read_only: bool | None) -> McpToolCall:
    """Return the item of a call as it begins."""
    return {
        "type": "mcpToolCall",
        "server": server,
        "environmentId": None,
        "tool": tool,
        "status": "inProgress",
        "arguments": arguments,
        "appContext": None,
        "mcpAppUi": None,
        "pluginId": None,
        "readOnlyHint": read_only,
        "result": None,
        "error": None,
        "durationMs": None,
    }


def failed(item: McpToolCall, began_at: float, text: str) -> ToolResult:
    """Return the result of a call that the server did not carry out. began_at: monotonic seconds"""
    seconds = time.monotonic() - began_at
    ended: McpToolCall = {
        **item,
        "status": "failed",
        "error": {"message": text},
        "durationMs": round(seconds * 1000),
    }
    return ToolResult(results.with_wall_time(text, seconds), item=ended)


def asker(ctx: ToolContext, server: str) -> Callable[[Mapping[str, Any], Callable[[], bool]], Mapping[str, Any]] | None:
    """Return what passes a server's question on to the thread's clients; None: nobody can be asked."""
    ask = ctx.ask
    if ask is None:
        return None

    def ask_clients(question: Mapping[str, Any], is_over: Callable[[], bool]) -> Mapping[str, Any]:
        params: dict[str, Any] = {"serverName": server, "environmentId": None, "_meta": None}
        if question.get("mode") == "url":
            params |= {"mode": "url", **{name: question[name] for name in ("message", "url", "elicitationId")}}
        else:
            schema = dict(question["requestedSchema"])
            if isinstance(schema.get("properties"), dict):
                schema["properties"] = dict(sorted(schema["properties"].items()))
            params |= {"mode": "form", "message": question["message"], "requestedSchema": schema}
        return server_answer(ask(ELICITATION, cast(ElicitationParams, params), is_over))

    return ask_clients


def server_answer(answer: ClientAnswer) -> Mapping[str, Any]:
    """Return a client's answer as the server gets it. Anything but a clear answer is a refusal."""
    action, content = answer.get("action"), answer.get("content")
    if action == "accept":
        return {"action": "accept", "content": content if isinstance(content, dict) else {}}
    return {"action": action if action in ("decline", "cancel") else "decline"}
