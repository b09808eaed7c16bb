"""The MCP servers of the caller: the operator's, and those that the caller or a thread of theirs brought."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from api.requests.context import Context
from shared.config.mcp_servers import McpServer, UserMcp, effective_servers, merge_layers
from shared.errors import InvalidRequest, NotFound
from shared.store.users import LOCAL_USER


def find_servers(ctx: Context, thread_id: str | None) -> Mapping[str, McpServer]:
    """Return the servers of one of the caller's threads, or of a new thread. Errors: NotFound (the thread)."""
    of_user: Any = ctx.store.user_configs.get(ctx.user_id)[0].get("mcp_servers") or {}
    of_thread: Any = ctx.get_thread(thread_id).settings.get("mcpServers") if thread_id else None
    hosted = ctx.user_id != LOCAL_USER
    policy = UserMcp.of(ctx.config.server, hosted=hosted)
    brought = merge_layers(of_user, of_thread or {})
    return effective_servers(ctx.config.mcp_servers, brought, policy, None if hosted else os.environ)[0]


def get_http_server(ctx: Context, name: str, thread_id: str | None, only_for: str) -> tuple[McpServer, str]:
    """Return a server and its address. Errors: NotFound; InvalidRequest (it is a program; only_for: as errors say)."""
    server = find_servers(ctx, thread_id).get(name)
    if server is None:
        raise NotFound(f"No MCP server named '{name[:200]}' found.")
    if server.url is None:
        raise InvalidRequest(f"{only_for} is only supported for streamable HTTP servers.")
    return server, server.url
