"""mcpServer/oauth/login: log a user in at an MCP server. The call lasts until the user's browser has come back.

The official SDK finds the authorization server, registers a client, and exchanges the code for tokens (OAuth 2.1 with
PKCE). All of its requests go through the address guard. What is stored leaves this process encrypted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import parse_qsl, urlsplit

from shared.config.mcp_servers import McpServer
from shared.encryption import Encryption
from shared.errors import CallLost, InvalidRequest, NotFound
from shared.events.mcp_login import CALLBACK
from shared.events.worker_calls import CANCEL
from workers.calls.mcp import McpAccess, servers_of
from workers.calls.running import RunningCall

if TYPE_CHECKING:
    from mcp.shared.auth import AuthorizationCodeResult

AGAIN = "begin the login again"
MAX_URL_CHARACTERS = 2000  # of a server's address: it is part of a key of the database


class Target(TypedDict):
    """A server. thread_id: of a thread whose servers count; None: those of a new thread"""

    name: str
    thread_id: str | None


class Params(Target):
    """A login.

    scopes:       OAuth scopes to ask for; None: those of the configuration
    redirect_uri: where the browser comes back
    """

    scopes: Sequence[str] | None
    redirect_uri: str
    timeout_seconds: float


class Address(TypedDict):
    """Where a login is: logins are stored by the address of the server."""

    server_url: str


class Result(Address):
    """login: encrypted, for shared.store.mcp_logins"""

    login: str


def find_address(access: McpAccess, call: RunningCall, params: Target) -> Address:
    """Return the address of a server, for a logout. Errors: NotFound, InvalidRequest."""
    return {"server_url": _server(access, call, params, "OAuth logout")[1]}


def run(access: McpAccess, call: RunningCall, params: Params) -> Result:
    """Log the caller in.

    Output:   {"url", "state"}, once: where the user's browser has to go, and the state that it comes back with
    Messages: CALLBACK: the query that it comes back with
    Errors:   NotFound; InvalidRequest: what went wrong, and what to do; CallLost when the worker shuts down
    """
    from workers.mcp.oauth import LoginFlow, describe

    server, url = _server(access, call, params, "OAuth login")
    keys = access.config.server.secrets_key
    if keys is None:
        raise InvalidRequest("this worker has no THREADHOUSE_SECRETS_KEY: ask the operator to set it for all processes")
    messages: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    call.subscribe(lambda what, value: messages.put((what, value)))
    browser = _Browser(call, messages, time.monotonic() + params["timeout_seconds"])
    flow = LoginFlow(
        url,
        allow_private=server.allow_private,
        scopes=server.scopes if params["scopes"] is None else params["scopes"],
        resource=server.oauth_resource,
        redirect_uri=params["redirect_uri"],
    )
    try:
        login = asyncio.run(flow.run(browser.send_away, browser.wait_until_back))
    except Exception as error:
        reason = describe(error)
        if reason is None:
            raise
        raise InvalidRequest(f"{reason}; {AGAIN}") from None
    return {"server_url": url, "login": Encryption(keys).encrypt({"owner": call.owner, **login})}


def _server(access: McpAccess, call: RunningCall, params: Target, what: str) -> tuple[McpServer, str]:
    """Return a server and its address. what: is asked of it, as errors say. Errors: NotFound, InvalidRequest."""
    name = params["name"]
    server = servers_of(access, call.owner, params["thread_id"]).get(name)
    if server is None:
        raise NotFound(f"No MCP server named '{name[:200]}' found.")
    if server.url is None:
        raise InvalidRequest(f"{what} is only supported for streamable HTTP servers.")
    if len(server.url) > MAX_URL_CHARACTERS:
        raise InvalidRequest(f"the address of {name[:200]} has more than {MAX_URL_CHARACTERS} characters")
    return server, server.url


class _Browser:
    """The user's browser, which the caller sends to a URL, and whose return it reports."""

    def __init__(self, call: RunningCall, messages: SimpleQueue[tuple[str, Any]], deadline: float) -> None:
        self._call = call
        self._messages = messages
        self._deadline = deadline

    async def send_away(self, url: str) -> None:
        state = dict(parse_qsl(urlsplit(url).query))["state"]
        await asyncio.to_thread(self._call.send_output, {"url": url, "state": state})

    async def wait_until_back(self) -> AuthorizationCodeResult:
        """Return what the browser came back with. Errors: InvalidRequest (refused, or too late), CallLost."""
        from mcp.shared.auth import AuthorizationCodeResult

        query = await asyncio.to_thread(self._next)
        if "code" not in query:
            reason = "the login was refused" + (f" ({query['error']})" if "error" in query else "")
            raise InvalidRequest(f"{reason}: allow the access, or ask the operator of the MCP server; {AGAIN}")
        return AuthorizationCodeResult.model_validate(query)

    def _next(self) -> Mapping[str, str]:
        try:
            what, value = self._messages.get(timeout=max(0.0, self._deadline - time.monotonic()))
        except Empty:
            raise InvalidRequest(f"nobody has finished the login in time; {AGAIN}") from None
        if what != CALLBACK:
            assert what == CANCEL
            raise CallLost(f"the server was restarted during the login; {AGAIN}")
        query: Mapping[str, str] = value
        return query
