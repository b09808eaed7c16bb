"""Logins of users at MCP servers (OAuth 2.1): how one is made, and the tokens that it gives requests.

Nothing of it is logged: what authorization servers answer may have secrets.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError, OAuthRegistrationError, OAuthTokenError
from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp_types.version import LATEST_HANDSHAKE_VERSION
from pydantic import AnyUrl, ValidationError

from shared.errors import InvalidRequest
from workers.mcp.guarded_http import CONNECT_SECONDS, guarded

logging.getLogger("mcp.client.auth.oauth2").disabled = True  # it logs errors with what was answered

CLIENT_NAME = "Threadhouse"
LONGEST_SECONDS = 10 * 366 * 24 * 3600  # that a token is taken to last, whatever its server says

SendAway = Callable[[str], Awaitable[None]]
WaitUntilBack = Callable[[], Awaitable[AuthorizationCodeResult]]


class LoginFlow:
    """One login, from the first request to the tokens."""

    def __init__(
        self,
        server_url: str,
        *,
        allow_private: bool,
        scopes: Sequence[str],
        resource: str | None,
        redirect_uri: str,
    ) -> None:
        self._server_url = server_url
        self._allow_private = allow_private
        self._scopes = " ".join(scopes)
        self._resource = resource
        self._redirect_uri = redirect_uri

    async def run(self, send_away: SendAway, wait_until_back: WaitUntilBack) -> dict[str, Any]:
        """Log in, and return the members of a StoredLogin but its owner. Errors: those that `describe` knows."""

        async def redirect(url: str) -> None:
            await send_away(self._with_scopes(url))

        is_web = self._redirect_uri.startswith("https:")
        metadata = OAuthClientMetadata(
            client_name=CLIENT_NAME,
            redirect_uris=[AnyUrl(self._redirect_uri)],
            scope=self._scopes or None,
            application_type="web" if is_web else "native",
        )
        provider = OAuthClientProvider(self._server_url, metadata, NothingStored(), redirect, wait_until_back)
        context = _Context(**{one.name: getattr(provider.context, one.name) for one in fields(OAuthContext)})
        context.configured_resource = self._resource
        provider.context = context
        transport = guarded(self._server_url, allow_private=self._allow_private)
        async with (
            httpx2.AsyncClient(transport=transport, auth=provider, timeout=CONNECT_SECONDS, trust_env=False) as client,
            client.stream("POST", self._server_url, json=_INITIALIZE, headers=_HEADERS) as response,
        ):
            status = response.status_code
        if context.current_tokens is None or context.client_info is None:
            raise InvalidRequest(f"the MCP server asks for no login: it answered HTTP {status} without one")
        if status in (401, 403):
            raise InvalidRequest(f"the MCP server does not accept the token that it had issued: HTTP {status}")
        return {
            "server_url": self._server_url,
            "tokens": context.current_tokens.model_dump(mode="json", exclude_none=True),
            "client": context.client_info.model_dump(mode="json", exclude_none=True),
            "expires_at_ms": expires_at_ms(context.current_tokens),
            "token_endpoint": str(context.oauth_metadata.token_endpoint)
            if context.oauth_metadata
            else f"{context.get_authorization_base_url(self._server_url)}/token",
            "resource": context.get_resource_url(),
        }

    def _with_scopes(self, url: str) -> str:
        """Return the URL for the browser with the scopes that were asked for: the SDK takes those of the server."""
        if not self._scopes:
            return url
        parts = urlsplit(url)
        query = [pair for pair in parse_qsl(parts.query) if pair[0] != "scope"]
        return urlunsplit(parts._replace(query=urlencode([*query, ("scope", self._scopes)])))


def expires_at_ms(tokens: OAuthToken) -> int | None:
    """Return when an access token that was issued now expires; None: it does not say."""
    if tokens.expires_in is None:
        return None
    lasts_seconds: int = min(max(tokens.expires_in, 0), LONGEST_SECONDS)
    return round((time.time() + lasts_seconds) * 1000)


def describe(error: BaseException) -> str | None:
    """Return what went wrong with a login, without anything that was answered; None for a fault of this server."""
    match error:
        case BaseExceptionGroup():
            return describe(error.exceptions[0])
        case OAuthRegistrationError():
            return "the MCP server lets nobody register as a client"
        case OAuthTokenError():
            return "the MCP server issued no token"
        case OAuthFlowError() | ValidationError():
            return "the MCP server does not follow OAuth for MCP"
        case httpx2.HTTPError():
            return f"the MCP server, or the server of its logins, does not answer: {error}"
    return None


@dataclass
class _Context(OAuthContext):
    """The state of a login, in which the operator may name the resource."""

    configured_resource: str | None = None

    def get_resource_url(self) -> str:
        return self.configured_resource or super().get_resource_url()


class NothingStored:
    """The storage of a flow that begins without tokens; what it ends with is in its context."""

    async def get_tokens(self) -> OAuthToken | None:
        return None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        pass

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        pass


_HEADERS = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": LATEST_HANDSHAKE_VERSION,
}
_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": LATEST_HANDSHAKE_VERSION,
        "capabilities": {},
        "clientInfo": {"name": CLIENT_NAME, "version": "1"},
    },
}
