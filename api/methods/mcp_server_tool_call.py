"""mcpServer/tool/call: Call a tool of a thread's MCP server, without a turn and without an approval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.mcp import ask_server
from api.requests.params import ThreadParams

NAME = "mcpServer/tool/call"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The tool, by the server's own name for it.

    _meta:  passed on to the server
    Errors: NotFound (the thread); McpRequestFailed (with the server's code, or -32603); Unavailable, CallLost
    Source: EXTENSIONS 7
    """

    server: str
    tool: str
    arguments: Mapping[str, object] | None = None
    _meta: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Result:
    """What the server answered, unchanged."""

    content: Sequence[object]
    structured_content: object
    is_error: bool | None
    _meta: Mapping[str, object] | None


EXAMPLE = Example(
    params={**ON_THREAD, "server": "demo", "tool": "echo", "arguments": {"text": "hello"}},
    result={
        "content": [{"type": "text", "text": "echo: hello"}],
        "structuredContent": None,
        "isError": None,
        "_meta": None,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    thread_id = ctx.get_thread(params.thread_id).id
    asked = {"thread_id": thread_id, "server": params.server, "tool": params.tool}
    answer = ask_server(ctx, NAME, {**asked, "arguments": params.arguments, "meta": params._meta})
    members = answer.get("content") or [], answer.get("structuredContent"), answer.get("isError"), answer.get("_meta")
    return Result(*members)
