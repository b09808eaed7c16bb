"""mcpServerStatus/list: List the MCP servers of a thread, or of the user, with their tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from api.requests.context import Context
from api.requests.examples import ON_THREAD, Example
from api.requests.pages import invalid_cursor, page_size
from api.requests.params import MethodParams
from api.requests.schemas import variant
from api.requests.worker_calls import call_worker

NAME = "mcpServerStatus/list"
SLOW = True
PAGE = 100
LIST_SECONDS = 90.0  # servers may take long to start


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Whose servers.

    thread_id: a thread, whose servers are started if need be; without it the user's servers are started for the answer
    cursor:    `nextCursor` of the page before
    limit:     1 to 100; by default 100
    detail:    "full": with resources and their templates
    Errors:    NotFound; InvalidRequest (the cursor); Unavailable, CallLost
    Source:    EXTENSIONS 7
    """

    thread_id: str | None = None
    cursor: str | None = None
    limit: int | None = None
    detail: Annotated[str, variant("full", "toolsAndAuthOnly")] = "full"


@dataclass(frozen=True)
class Result:
    """The servers, sorted by name."""

    data: Sequence[Mapping[str, object]]
    next_cursor: str | None


EXAMPLE = Example(
    params={**ON_THREAD, "detail": "toolsAndAuthOnly"},
    result={
        "data": [
            {
                "name": "demo",
                "environmentId": None,
                "runtimeStatus": "connected",
                "pluginId": None,
                "httpOrigin": None,
                "serverInfo": None,
                "serverCapabilities": None,
                "toolListMeta": None,
                "tools": {},
                "toolsError": None,
                "resources": [],
                "resourceTemplates": [],
                "authStatus": "unsupported",
            }
        ],
        "nextCursor": None,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    start = 0
    if params.cursor is not None:
        if not (params.cursor.isascii() and params.cursor.isdigit() and len(params.cursor) < 10):
            raise invalid_cursor(params.cursor)
        start = int(params.cursor)
    if params.thread_id is not None:
        ctx.get_thread(params.thread_id)
    elif not ctx.config.mcp_servers and not ctx.store.user_configs.get(ctx.user_id)[0].get("mcp_servers"):
        return Result(data=[], next_cursor=None)
    asked = {"thread_id": params.thread_id, "full": params.detail == "full"}
    data = call_worker(ctx, NAME, asked, deadline_s=LIST_SECONDS)["data"]
    end = start + page_size(params.limit, PAGE)
    return Result(data=data[start:end], next_cursor=str(end) if end < len(data) else None)
