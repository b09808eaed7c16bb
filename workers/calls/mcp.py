"""mcpServerStatus/list, mcpServer/tool/call, mcpServer/resource/read: what a client asks of MCP servers itself.

With a thread these use its sessions on this worker, as its turns do. Without one the user's servers are started for the
answer alone; programs may read the user's workspaces and write nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from shared.config import Config
from shared.config.mcp_servers import McpServer
from shared.errors import NotFound
from shared.events import worker_calls
from shared.store import Store
from workers.calls.client_command import policy_for
from workers.calls.running import RunningCall
from workers.control.signal import Signal, StopReason
from workers.mcp import FAILED, READY, STARTING
from workers.mcp.errors import McpAnsweredError, McpError
from workers.mcp.pool import McpPool, Place
from workers.workspace.scope import workspace_scope
from workers.workspace.thread_sandbox import command_limits, thread_sandbox

if TYPE_CHECKING:
    from workers.mcp.session import McpSession

LIST_SECONDS = 20.0  # for the lists of resources of one server
CONNECTED, DISABLED = "connected", "disabled"
SERVER_INFO = ("name", "title", "version", "description", "icons", "websiteUrl")


@dataclass(frozen=True, slots=True)
class McpAccess:
    """What these calls need of the worker process."""

    config: Config
    store: Store
    pool: McpPool


class Params(TypedDict, total=False):
    """What is asked. thread_id: None: no thread; server, tool, arguments, meta, uri, full: as of each method"""

    thread_id: str | None
    server: str
    tool: str
    arguments: object
    meta: Mapping[str, object] | None
    uri: str
    full: bool


def call_tool(access: McpAccess, call: RunningCall, params: Params) -> Mapping[str, object]:
    """Call a tool, without approval: the user asked for it. Returns {"result"} or {"error": {code, message, data}}."""
    name, tool = params["server"], params["tool"]
    meta = {**(params.get("meta") or {}), "threadId": params["thread_id"]}
    arguments = {"name": tool, "arguments": params.get("arguments") or {}, "_meta": meta}
    return _request(access, call, params, "tools/call", arguments, f"tool call failed for `{name}/{tool}`")


def read_resource(access: McpAccess, call: RunningCall, params: Params) -> Mapping[str, object]:
    """Read a resource. Returns as `call_tool`."""
    name, uri = params["server"], params["uri"]
    return _request(access, call, params, "resources/read", {"uri": uri}, f"resources/read failed for `{name}` ({uri})")


def list_servers(access: McpAccess, call: RunningCall, params: Params) -> Mapping[str, object]:
    """Return {"data": all servers, sorted by name}, after each of them has started or failed."""
    thread_id, full = params.get("thread_id"), bool(params.get("full"))
    servers = servers_of(access, call.owner, thread_id)
    enabled = {name: server for name, server in servers.items() if server.enabled}
    with _sessions(access, call.owner, thread_id, enabled) as sessions:
        _wait(sessions, call)
        urls = {server.url for server in servers.values() if server.url is not None}
        logged_in = access.store.mcp_logins.servers(call.owner, urls) if urls else set()
        data = [
            {
                **_status(server, sessions.get(name), full, has_thread=thread_id is not None),
                "authStatus": _auth_status(server, sessions.get(name), is_logged_in=server.url in logged_in),
            }
            for name, server in servers.items()
        ]
    return {"data": data}


def _request(
    access: McpAccess, call: RunningCall, params: Params, method: str, sent: Mapping[str, Any], failure: str
) -> Mapping[str, object]:
    thread_id, name = params.get("thread_id"), params["server"]
    server = servers_of(access, call.owner, thread_id).get(name)
    if server is None or not server.enabled:
        return _error(f"unknown MCP server '{name[:200]}'")
    signal = Signal()
    call.subscribe(lambda what, _: signal.request(StopReason.INTERRUPT) if what == worker_calls.CANCEL else None)
    all_servers = servers_of(access, call.owner, thread_id) if thread_id else {name: server}
    enabled = {key: one for key, one in all_servers.items() if one.enabled}
    with _sessions(access, call.owner, thread_id, enabled) as sessions:
        session = sessions[name]
        _wait({name: session}, call)
        if session.state != READY:
            reason = session.error.listed if session.error else "MCP startup failed: the session ended"
            return _error(f"failed to get client: {reason}")
        try:
            result = session.request(method, sent, timeout_s=server.tool_timeout_sec, signal=signal)
        except McpAnsweredError as error:
            return _error(error.message, error.code, error.data)
        except McpError as error:
            return _error(f"{failure}: {error}")
    return {"result": result}


def _error(message: str, code: int = -32603, data: object = None) -> Mapping[str, object]:
    return {"error": {"code": code, "message": message, "data": data}}


def servers_of(access: McpAccess, owner: str, thread_id: str | None) -> Mapping[str, McpServer]:
    """Return the servers of a thread, or of a user without a thread. Errors: NotFound."""
    brought: Any = {}
    if thread_id is not None:
        thread = access.store.threads.find(thread_id, owner)
        if thread is None:
            raise NotFound(f"thread not found: {thread_id[:80]}")
        brought = thread.settings.get("mcpServers") or {}
    of_user: Any = access.store.user_configs.get(owner)[0].get("mcp_servers") or {}
    return access.pool.servers_of(owner, of_user, brought)


@contextmanager
def _sessions(
    access: McpAccess, owner: str, thread_id: str | None, servers: Mapping[str, McpServer]
) -> Iterator[Mapping[str, McpSession]]:
    """Yield the sessions of servers: those of a thread, or new ones that end with the block."""
    limits, pool = command_limits(access.config, owner), access.pool
    if thread_id is not None:
        settings = access.store.threads.get(thread_id, owner).settings
        sandbox = thread_sandbox(access.config, owner, thread_id, settings)
        pool.enter_turn(owner, thread_id)
        try:
            yield pool.ensure(owner, thread_id, servers, Place(sandbox.cwd, sandbox, limits), restarts=True)
        finally:
            pool.leave_turn(owner, thread_id)
        return
    scope = workspace_scope(access.config, owner)
    cwd = scope.cwd(None)
    place = Place(cwd, policy_for(access.config, scope, {"type": "readOnly"}, cwd), limits)
    with pool.opened_once(owner, servers, place) as opened:
        yield opened


def _wait(sessions: Mapping[str, McpSession], call: RunningCall) -> None:
    """Wait until each session is ready or has failed, or nobody waits for the answer any more."""
    for session in sessions.values():
        until = time.monotonic() + session.server.startup_timeout_sec + 1
        while not session.settled.wait(0.1) and time.monotonic() < until and not call.cancelled.is_set():
            pass


def _status(server: McpServer, session: McpSession | None, full: bool, *, has_thread: bool) -> dict[str, object]:
    """Return one entry of mcpServerStatus/list. session: None: the server is disabled"""
    state = {READY: CONNECTED, STARTING: STARTING}.get(session.state, FAILED) if session is not None else DISABLED
    info: Mapping[str, Any] = session.info if session is not None else {}
    about = info.get("serverInfo")
    capabilities = info.get("capabilities")
    is_ready = session is not None and session.state == READY
    listed = session if is_ready and full and "resources" in (capabilities or {}) else None
    tools = session.tools if session is not None else ()
    return {
        "name": server.name,
        "environmentId": None,
        "runtimeStatus": state if has_thread else None,
        "pluginId": None,
        "httpOrigin": server.origin,
        "serverInfo": {name: about.get(name) for name in SERVER_INFO} if about else None,
        "serverCapabilities": capabilities,
        "toolListMeta": None,
        "tools": {str(tool["name"]): tool for tool in tools if server.uses_tool(str(tool["name"]))},
        "toolsError": session.error.listed if session is not None and session.error else None,
        "resources": _listed(listed, "resources/list", "resources"),
        "resourceTemplates": _listed(listed, "resources/templates/list", "resourceTemplates"),
    }


def _auth_status(server: McpServer, session: McpSession | None, *, is_logged_in: bool) -> str:
    if any(name.lower() == "authorization" for name in server.headers):
        return "bearerToken"
    if session is not None and session.needs_login:
        return "notLoggedIn"
    return "oAuth" if is_logged_in else "unsupported"


def _listed(session: McpSession | None, method: str, member: str) -> Sequence[object]:
    """Return what a server lists; nothing when it fails, so that the other entries are shown."""
    with suppress(McpError):
        return session.list_all(method, member, timeout_s=LIST_SECONDS) if session is not None else ()
    return ()
