"""mcpServer/resource/read: Read a resource of an MCP server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.mcp import ask_server
from api.requests.params import MethodParams

NAME = "mcpServer/resource/read"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The resource.

    thread_id: whose server it is; without it the user's server is started for the answer
    uri:       as the server lists it
    Errors:    NotFound (the thread); McpRequestFailed (with the server's code, or -32603); Unavailable, CallLost
    Source:    EXTENSIONS 7
    """

    thread_id: str | None = None
    server: str
    uri: str


@dataclass(frozen=True)
class Result:
    """What the server answered.

    origin_call_id: always null
    """

    contents: Sequence[object]
    origin_call_id: None


EXAMPLE = Example(
    params={**ON_THREAD, "server": "demo", "uri": "demo://one"},
    result={
        "contents": [{"uri": "demo://one", "mimeType": "text/plain", "text": "the first one"}],
        "originCallId": None,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    thread_id = ctx.get_thread(params.thread_id).id if params.thread_id is not None else None
    answer = ask_server(ctx, NAME, {"thread_id": thread_id, "server": params.server, "uri": params.uri})
    return Result(answer.get("contents") or [], None)
