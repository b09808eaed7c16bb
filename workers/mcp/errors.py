"""What can go wrong with a request to an MCP server."""

from __future__ import annotations

import json
from typing import Any


class McpError(Exception):
    """A request failed. The text is what models and clients read of it."""


class McpAnsweredError(McpError):
    """The server answered with an error. code, message, data: as it sent them."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        shown = "" if data is None else f"({json.dumps(data, separators=(',', ':'), ensure_ascii=False)})"
        super().__init__(f"Mcp error: {code}: {message}{shown}")
        self.code, self.message, self.data = code, message, data


class McpClosed(McpError):
    """The server is gone."""

    def __init__(self) -> None:
        super().__init__("Transport closed")


class McpTimeout(McpError):
    """The server did not answer in time; it was notified that nobody waits any more."""

    def __init__(self, method: str, seconds: float) -> None:
        super().__init__(f"timed out awaiting {method} after {seconds:g}s")


class McpStopped(McpError):
    """The turn was asked to stop while the server worked; it was notified that nobody waits any more."""
