"""Requests of clients to MCP servers: a worker passes them on, and the server's error becomes the client's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.requests.context import Context
from api.requests.worker_calls import call_worker
from shared.config import Config
from shared.config.client_mcp_servers import MAX_STARTUP_SECONDS, MAX_TOOL_SECONDS
from shared.errors import McpRequestFailed
from shared.store.users import LOCAL_USER

SPARE_SECONDS = 30.0  # for the worker to begin, and to say that a server was too slow


def ask_server(ctx: Context, method: str, asked: Mapping[str, object]) -> Mapping[str, Any]:
    """Return what a server answers. asked: as workers.calls.mcp has it. Errors: McpRequestFailed, of call_worker."""
    answer = call_worker(ctx, method, asked, deadline_s=None if ctx.user_id == LOCAL_USER else _deadline_s(ctx.config))
    if (error := answer.get("error")) is not None:
        raise McpRequestFailed(error["message"], error["code"], error["data"])
    result: Mapping[str, Any] = answer["result"]
    return result


def _deadline_s(config: Config) -> float:
    """Return how long the slowest server that a user with a key can have may take to start and to answer."""
    of_operator = (one.startup_timeout_sec + one.tool_timeout_sec for one in config.mcp_servers.values())
    return max(MAX_STARTUP_SECONDS + MAX_TOOL_SECONDS, *of_operator, 0.0) + SPARE_SECONDS
