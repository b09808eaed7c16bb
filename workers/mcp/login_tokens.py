"""The tokens of a user's login at an MCP server, in the requests of sessions, and their renewal.

A login is read anew for each request, so that a logout, and what another process renews, counts at once. One process at
a time renews a login: many authorization servers end a login whose refresh token is used twice.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from weakref import WeakValueDictionary

import httpx2
import redis
from mcp.client.auth import OAuthTokenError
from mcp.client.auth.oauth2 import OAuthContext
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import ValidationError

from shared.encryption import Encryption
from shared.errors import InvalidRequest
from shared.events.mcp_login import renewal_key
from shared.store import Store
from shared.store.mcp_logins import StoredLogin
from workers.mcp.guarded_http import CONNECT_SECONDS, guarded
from workers.mcp.oauth import NothingStored, expires_at_ms

logger = logging.getLogger(__name__)

EARLY_MS = 60_000  # before its end a token is renewed: a call may take a while
LEASE_SECONDS = 60.0  # of the lock, and for which the renewal of another process is waited for
RENEWAL_SECONDS = 30.0  # that a renewal may take: it ends before its lock does
POLL_SECONDS = 0.2  # between looks for the end of another process's renewal
FAILED_SECONDS = 60.0  # for which a login that could not be renewed is not tried again


class _Renewals:
    """What the sessions of one login share in this process. failed: the login that could not be renewed, as stored"""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.failed = ""
        self.failed_until = 0.0  # monotonic seconds


_renewals: WeakValueDictionary[tuple[str, str], _Renewals] = WeakValueDictionary()


class LoginTokens(httpx2.Auth):
    """Puts a user's token into requests to a server.

    keys: of Encryption
    """

    def __init__(
        self, store: Store, client: redis.Redis, keys: str, owner: str, server_url: str, *, allow_private: bool
    ) -> None:
        self._store = store
        self._redis = client
        self._encryption = Encryption(keys)
        self._owner = owner
        self._server_url = server_url
        self._allow_private = allow_private
        self._renewals = _renewals.setdefault((owner, server_url), _Renewals())

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request with the token; renew the token before its end, and when the server does not take it."""
        stored = await asyncio.to_thread(self._find)
        if stored is None:
            yield request
            return
        text, login = stored
        expires = login["expires_at_ms"]
        if expires is not None and expires < time.time() * 1000 + EARLY_MS:
            text, login = await self._renewed(text, login)
        request.headers["Authorization"] = f"Bearer {login['tokens']['access_token']}"
        response = yield request
        if response.status_code == 401:
            newer, login = await self._renewed(text, login)
            if newer != text:
                request.headers["Authorization"] = f"Bearer {login['tokens']['access_token']}"
                yield request

    def _find(self) -> tuple[str, StoredLogin] | None:
        """Return the login as it is stored, and decrypted."""
        text = self._store.mcp_logins.find(self._owner, self._server_url)
        if text is None:
            return None
        try:
            login: StoredLogin = self._encryption.decrypt(text)  # type: ignore[assignment]
        except InvalidRequest as error:
            logger.warning("login at an MCP server not used: %s", error, extra={"user_id": self._owner})
            return None
        return (text, login) if (login["owner"], login["server_url"]) == (self._owner, self._server_url) else None

    async def _renewed(self, text: str, login: StoredLogin) -> tuple[str, StoredLogin]:
        """Return the login with new tokens, or as it is when it cannot be renewed. Errors: httpx2.HTTPError."""
        if "refresh_token" not in login["tokens"]:
            return text, login
        name, until = renewal_key(self._owner, self._server_url), time.monotonic() + LEASE_SECONDS
        lock = self._redis.lock(name, timeout=LEASE_SECONDS, thread_local=False)
        async with self._renewals.lock:
            while time.monotonic() < until:
                is_held = await _acquire(lock)
                try:
                    stored = await asyncio.to_thread(self._find)
                    if stored is None or stored[0] != text:
                        return stored or (text, login)
                    if self._renewals.failed == text and time.monotonic() < self._renewals.failed_until:
                        break
                    if is_held:
                        return await self._renew(text, login)
                finally:
                    if is_held:
                        await asyncio.to_thread(_release, lock)
                await asyncio.sleep(POLL_SECONDS)
        return text, login

    async def _renew(self, text: str, login: StoredLogin) -> tuple[str, StoredLogin]:
        data, headers = _request(login)
        transport = guarded(self._server_url, allow_private=self._allow_private)
        async with httpx2.AsyncClient(transport=transport, timeout=CONNECT_SECONDS, trust_env=False) as client:
            try:
                async with asyncio.timeout(RENEWAL_SECONDS):
                    response = await client.post(login["token_endpoint"], data=data, headers=headers)
            except TimeoutError:
                raise httpx2.ReadTimeout("the server of the login does not answer") from None
        if response.status_code >= 500 or response.status_code == 429:
            raise httpx2.ReadError(f"the server of the login does not answer: HTTP {response.status_code}")
        try:
            if response.status_code != 200:
                raise OAuthTokenError
            tokens = OAuthToken.model_validate_json(response.content)
        except (OAuthTokenError, ValidationError):
            logger.warning("login at an MCP server not renewed", extra={"user_id": self._owner})
            self._renewals.failed, self._renewals.failed_until = text, time.monotonic() + FAILED_SECONDS
            return text, login
        renewed: StoredLogin = {
            **login,
            "tokens": {**login["tokens"], **tokens.model_dump(mode="json", exclude_none=True)},
            "expires_at_ms": expires_at_ms(tokens),
        }
        newer = self._encryption.encrypt(renewed)
        if not await asyncio.to_thread(self._store.mcp_logins.replace, self._owner, self._server_url, text, newer):
            return text, login  # the user has logged out, or in again
        return newer, renewed


def _request(login: StoredLogin) -> tuple[dict[str, str], dict[str, str]]:
    """Return the form and headers of a request for new tokens (RFC 6749, section 6)."""
    client = OAuthClientInformationFull.model_validate(login["client"])
    context = OAuthContext(
        login["server_url"], OAuthClientMetadata(redirect_uris=client.redirect_uris), NothingStored(), None, None
    )
    context.client_info = client
    data = {
        "grant_type": "refresh_token",
        "refresh_token": login["tokens"]["refresh_token"],
        "client_id": client.client_id,
        "resource": login["resource"],
    }
    return context.prepare_token_auth(data, {"Content-Type": "application/x-www-form-urlencoded"})


async def _acquire(lock: redis.lock.Lock) -> bool:
    """Return whether the lock is taken now. A lock that is taken after the caller was cancelled is given back."""
    acquiring = asyncio.ensure_future(asyncio.to_thread(lock.acquire, blocking=False))
    try:
        return await asyncio.shield(acquiring)
    except asyncio.CancelledError:
        if await acquiring:
            await asyncio.to_thread(_release, lock)
        raise


def _release(lock: redis.lock.Lock) -> None:
    try:
        lock.release()
    except redis.exceptions.LockError:
        pass  # it has expired
