"""mcpServer/oauth/logout: Forget the caller's login at an MCP server."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.mcp_servers import get_http_server
from api.requests.params import MethodParams

NAME = "mcpServer/oauth/logout"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Where to log out. Not part of the Codex protocol.

    name:      of the server
    thread_id: a thread whose servers count; by default those of a new thread
    Errors: NotFound (the server); InvalidRequest (it is a program)
    """

    name: str
    thread_id: str | None = None


@dataclass(frozen=True)
class Result:
    """removed: whether there was a login"""

    removed: bool


EXAMPLE = Example(params={"name": "tracker"}, result={"removed": True})


def handle(ctx: Context, params: Params) -> Result:
    _, url = get_http_server(ctx, params.name, params.thread_id, "OAuth logout")
    return Result(ctx.store.mcp_logins.remove(ctx.user_id, url, audit_entry=ctx.audit_entry(NAME)))
