"""mcpServer/oauth/login: log a user in at an MCP server. The call lasts until the user's browser has come back.

The official SDK finds the authorization server, registers a client, and exchanges the code for tokens (OAuth 2.1 with
PKCE). All of its requests go through the address guard. What is stored leaves this process encrypted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import parse_qsl, urlsplit

from shared.config import Config
from shared.encryption import Encryption
from shared.errors import CallLost, InvalidRequest
from shared.events.mcp_login import CALLBACK
from shared.events.worker_calls import CANCEL
from workers.calls.running import RunningCall

if TYPE_CHECKING:
    from mcp.shared.auth import AuthorizationCodeResult

AGAIN = "begin the login again"


class Params(TypedDict):
    """A login.

    allow_private: whether the host of the address may be private
    resource:      the OAuth resource; null: what the server says
    redirect_uri:  where the browser comes back
    """

    server_url: str
    allow_private: bool
    scopes: list[str]
    resource: str | None
    redirect_uri: str
    timeout_seconds: float


class Result(TypedDict):
    """The login, encrypted for shared.store.mcp_logins."""

    login: str


def run(config: Config, call: RunningCall, params: Params) -> Result:
    """Log the caller in.

    Output:   {"url", "state"}, once: where the user's browser has to go, and the state that it comes back with
    Messages: CALLBACK: the query that it comes back with
    Errors:   InvalidRequest: what went wrong, and what to do; CallLost when the worker shuts down
    """
    from workers.mcp.oauth import LoginFlow, describe

    keys = config.server.secrets_key
    if keys is None:
        raise InvalidRequest("this worker has no THREADHOUSE_SECRETS_KEY: ask the operator to set it for all processes")
    messages: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    call.subscribe(lambda what, value: messages.put((what, value)))
    browser = _Browser(call, messages, time.monotonic() + params["timeout_seconds"])
    flow = LoginFlow(
        params["server_url"],
        allow_private=params["allow_private"],
        scopes=params["scopes"],
        resource=params["resource"],
        redirect_uri=params["redirect_uri"],
    )
    try:
        login = asyncio.run(flow.run(browser.send_away, browser.wait_until_back))
    except Exception as error:
        reason = describe(error)
        if reason is None:
            raise
        raise InvalidRequest(f"{reason}; {AGAIN}") from None
    return {"login": Encryption(keys).encrypt({"owner": call.owner, **login})}


class _Browser:
    """The user's browser, which the caller sends to a URL and hears of again."""

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
