"""Requests of clients to MCP servers: a worker passes them on, and the server's error becomes the client's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from api.requests.context import Context
from api.requests.worker_calls import call_worker
from shared.errors import McpRequestFailed


def ask_server(ctx: Context, method: str, asked: Mapping[str, object]) -> Mapping[str, Any]:
    """Return what a server answers. asked: as workers.calls.mcp has it. Errors: McpRequestFailed, of call_worker."""
    answer = call_worker(ctx, method, asked, deadline_s=None)
    if (error := answer.get("error")) is not None:
        raise McpRequestFailed(error["message"], error["code"], error["data"])
    result: Mapping[str, Any] = answer["result"]
    return result
