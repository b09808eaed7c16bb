"""Tools of the thread's client: a call becomes a server request, and its answer is the output (PROTOCOL 8.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from shared.clock import now_ms
from shared.protocol.dynamic_tools import DynamicTool, functions
from shared.protocol.items import DynamicToolCall, ItemStatus
from shared.protocol.model_items import ContentPart, ToolDefinition, image_part
from shared.protocol.server_requests import TOOL_CALL, ToolCallParams
from workers.tools.arguments import read_arguments
from workers.tools.base import ClientRequest, PreparedCall, ToolCall, ToolContext, ToolResult

NAME = "dynamic_tool"
PURE = True  # run() only reads a stored answer
PARALLEL = False


def specs(tools: Sequence[DynamicTool]) -> list[ToolDefinition]:
    """Return the definitions of the client's tools for the model."""
    return [
        {
            "type": "function",
            "name": name,
            "description": function["description"],
            "strict": False,
            "parameters": function["inputSchema"],
        }
        for name, (_, function) in functions(tools).items()
    ]


def prepare(call: ToolCall, ctx: ToolContext) -> PreparedCall:
    """Prepare the call. Item: `dynamicToolCall` as it begins (PROTOCOL 3.3)."""
    arguments = read_arguments(call.arguments, call.name)
    namespace, function = functions(ctx.dynamic_tools)[call.name]
    name = function["name"]
    item: DynamicToolCall = {
        "type": "dynamicToolCall",
        "namespace": namespace,
        "tool": name,
        "arguments": arguments,
        "status": "inProgress",
        "contentItems": None,
        "success": None,
        "durationMs": None,
    }
    params: ToolCallParams = {
        "callId": call.item_id,
        "namespace": namespace,
        "tool": name,
        "arguments": arguments,
    }
    return PreparedCall(call, item, request=ClientRequest(TOOL_CALL, params))


def run(prepared: PreparedCall, ctx: ToolContext) -> ToolResult:
    """Return the client's answer, {"contentItems", "success"}, or a failure when the answer has another shape."""
    assert ctx.asked_at_ms is not None
    item: DynamicToolCall = {**cast(DynamicToolCall, prepared.item), "durationMs": max(0, now_ms() - ctx.asked_at_ms)}
    answered = ctx.answer.get("contentItems")
    parts = [_part(content_item) for content_item in answered] if isinstance(answered, list) else [None]
    content = [part for part in parts if part is not None]
    if len(content) < len(parts):
        output = "The client that provides this tool did not carry out the call, or its answer is invalid."
        return ToolResult(output, item={**item, "status": "failed", "success": False})
    success = ctx.answer.get("success") is True
    status: ItemStatus = "completed" if success else "failed"
    items = cast(list[dict[str, object]], answered)
    warnings = [
        ("warning", {"message": f"{item['tool']}: {part['text'].strip('[]')}"})
        for given, part in zip(items, content, strict=True)
        if given["type"] == "inputImage" and part["type"] != "input_image"
    ]
    shown: DynamicToolCall = {**item, "status": status, "contentItems": items, "success": success}
    return ToolResult(content, item=shown, notifications=warnings)


def _part(content_item: object) -> ContentPart | None:
    """Return a content item as a part of the model's input; None when it has no known shape."""
    match content_item:
        case {"type": "inputText", "text": str(text)}:
            return {"type": "input_text", "text": text}
        case {"type": "inputImage", "imageUrl": str(url)}:
            return image_part(url)
    return None
