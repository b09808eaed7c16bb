"""mcpServer/oauth/logout: Forget the caller's login at an MCP server."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import MethodParams
from api.requests.worker_calls import call_worker

NAME = "mcpServer/oauth/logout"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Where to log out. Not part of the Codex protocol.

    name:      of the server
    thread_id: a thread whose servers count; by default those of a new thread
    Errors: NotFound (the server, the thread); InvalidRequest (it is a program); Unavailable, CallLost (no worker)
    """

    name: str
    thread_id: str | None = None


@dataclass(frozen=True)
class Result:
    """removed: whether there was a login"""

    removed: bool


EXAMPLE = Example(params={"name": "tracker"}, result={"removed": True})


def handle(ctx: Context, params: Params) -> Result:
    if params.thread_id is not None:
        ctx.get_thread(params.thread_id)
    url = call_worker(ctx, NAME, {"name": params.name, "thread_id": params.thread_id})["server_url"]
    return Result(ctx.store.mcp_logins.remove(ctx.user_id, url, audit_entry=ctx.audit_entry(NAME)))
