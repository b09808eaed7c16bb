"""Tools of the thread's client: a call is a server request to it, and its answer the output (PROTOCOL 8.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.clock import now_ms
from shared.errors import ToolError
from shared.protocol import frames
from shared.protocol.dynamic_tools import functions
from workers.tools.base import Call, Outcome, Plan, Request, ToolContext

NAME = "dynamic_tool"
PURE = True  # run() only reads an answer that is stored
SPEC: dict[str, Any] = {}
METHOD = "item/tool/call"
IMAGE_URLS = ("data:image/", "https://")


def specs(tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Definitions for the model."""
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


def plan(call: Call, ctx: ToolContext) -> Plan:
    """Item `dynamicToolCall` as it begins (PROTOCOL 3.3)."""
    try:
        arguments = frames.decode((call.arguments or "{}").encode(errors="replace"))
    except ValueError as error:
        raise ToolError(f"{call.name}: the arguments are not JSON: {error}") from None
    namespace, function = functions(ctx.dynamic_tools)[call.name]
    asked = {"namespace": namespace, "tool": function["name"], "arguments": arguments}
    item = {"type": "dynamicToolCall", **asked, "status": "inProgress"}
    return Plan(
        call,
        item={**item, "contentItems": None, "success": None, "durationMs": None},
        request=Request(METHOD, {"callId": call.item_id, **asked}),
    )


def run(plan: Plan, ctx: ToolContext) -> Outcome:
    """The client's answer, as far as it is one: {"contentItems", "success"}."""
    assert plan.item is not None
    assert ctx.asked_at_ms is not None
    item = {**plan.item, "durationMs": max(0, now_ms() - ctx.asked_at_ms)}
    given = ctx.answer.get("contentItems")
    parts = [_part(one) for one in given] if isinstance(given, list) else [None]
    content = [part for part in parts if part is not None]
    if len(content) < len(parts):
        told = "The client that has this tool did not carry the call out, or its answer makes no sense."
        return Outcome(told, item={**item, "status": "failed", "success": False})
    success = ctx.answer.get("success") is True
    status = "completed" if success else "failed"
    return Outcome(content, item={**item, "status": status, "contentItems": given, "success": success})


def _part(one: Any) -> dict[str, Any] | None:
    match one:
        case {"type": "inputText", "text": str(text)}:
            return {"type": "input_text", "text": text}
        case {"type": "inputImage", "imageUrl": str(url)} if url.startswith(IMAGE_URLS):
            return {"type": "input_image", "image_url": url}
    return None
