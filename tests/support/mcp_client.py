"""The official SDK's client, connected to `threadhouse mcp-server`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult

from tests.support.deployment import Deployment

DEADLINE_S = 120
Answer = Callable[[ElicitRequestParams], Awaitable[ElicitResult]]


@asynccontextmanager
async def connected(server: Deployment, answer: Answer | None = None) -> AsyncIterator[Client]:
    """Start the command and connect to it. answer: what the user answers to an elicitation; None: there is none."""

    async def elicited(context: Any, params: ElicitRequestParams) -> ElicitResult:
        assert answer is not None
        return await answer(params)

    command = StdioServerParameters(
        command=sys.executable,
        args=["-P", "-m", "api.cli", "mcp-server"],
        env={**server.environ, "THREADHOUSE_URL": server.urls[0]},
        cwd="/",
    )
    with anyio.fail_after(DEADLINE_S):
        async with Client(command, elicitation_callback=elicited if answer else None) as client:
            yield client


def text_of(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if part.type == "text")
