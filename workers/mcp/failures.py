"""Why sessions with MCP servers fail: what is said about it to clients and to models."""

from __future__ import annotations

from typing import NamedTuple

import httpx2
import mcp_types
from mcp.shared.exceptions import MCPError

from shared.errors import ToolError
from workers.mcp.errors import McpAnsweredError, McpClosed, McpError
from workers.mcp.guarded_http import CLOSED_MESSAGE, LOGIN_NEEDED
from workers.mcp.lines import Ending

MAX_REASON_CHARACTERS = 300
NOT_FOUND = 127  # the exit code of prlimit and of shells for a program that does not exist
NO_ANSWER = "connection closed: initialize response"
NO_FILE = "No such file or directory (os error 2)"


class Failure(NamedTuple):
    """Why a session could not be started.

    shown:  as clients of its thread read it
    listed: as mcpServerStatus/list shows it
    phrase: as the model reads it: nothing that the server said
    """

    shown: str
    listed: str
    phrase: str

    @classmethod
    def of(cls, name: str, reason: str, phrase: str | None = None) -> Failure:
        """Return the failure of a server. phrase: None: the reason has nothing that the server said."""
        line = "".join(one if one.isprintable() else " " for one in reason[:MAX_REASON_CHARACTERS])
        short = f"MCP startup failed: {line}"
        return cls(f"MCP client for `{name}` failed to start: {short}", short, phrase or line)

    @classmethod
    def too_slow(cls, name: str, seconds: float) -> Failure:
        reason = f"timed out handshaking with MCP server after {seconds:g}s: deadline has elapsed"
        shown = (
            f"MCP client for `{name}` timed out after {seconds:g} seconds. Add or adjust `startup_timeout_sec` in "
            f"your config.toml:\n[mcp_servers.{name}]\nstartup_timeout_sec = XX"
        )
        return cls(shown, f"MCP startup failed: {reason}", reason)


def first_leaf(error: BaseException) -> BaseException:
    """Return the first error in a group of errors."""
    return first_leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def is_closed(error: BaseException) -> bool:
    """Return whether the SDK says that the connection is closed: servers use the same code for errors of theirs."""
    return isinstance(error, MCPError) and error.code == mcp_types.CONNECTION_CLOSED and error.message == CLOSED_MESSAGE


def needs_login(error: BaseException) -> bool:
    """Return whether a session could not be started because the server wants a login."""
    first = first_leaf(error)
    return isinstance(first, MCPError) and first.code == LOGIN_NEEDED


def failure_of(name: str, error: BaseException, ending: Ending) -> Failure:
    """Return why a session could not be started, without what might be a secret of the server."""
    first = first_leaf(error)
    if isinstance(first, McpClosed) or is_closed(first):
        if ending.exit_code == NOT_FOUND:
            return Failure.of(name, NO_FILE)
        said = f": {ending.last_words}" if ending.last_words else ""
        return Failure.of(name, NO_ANSWER + said, NO_ANSWER)
    if needs_login(first):
        return Failure.of(name, str(first), "the user has to log in at it")
    if isinstance(first, McpAnsweredError | MCPError):
        return Failure.of(name, str(first), "it answered with an error")
    if isinstance(first, McpError | ToolError):
        return Failure.of(name, str(first))
    if isinstance(first, httpx2.HTTPStatusError):  # its text has the whole address
        return Failure.of(name, f"the server answered with HTTP {first.response.status_code}")
    phrase = "it cannot be reached" if isinstance(first, httpx2.HTTPError) else "it does not speak MCP"
    return Failure.of(name, f"{type(first).__name__}: {first}", phrase)
