"""Authenticate requests: bearer token, or session of the web console → Caller; and refuse foreign Origins and Hosts.

A server without users belongs to whoever uses its machine: there is one local user, over loopback only. Web pages that
the same person visits could reach such a server too, so requests with a foreign Origin or Host are refused (RFC 6454;
DNS rebinding).
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flask import Request

from api.access import session_cookie
from api.access.caller import LOCAL, AuthMode, Caller, Transport
from shared.config import Config
from shared.errors import ConfigError, Conflict, Forbidden, InvalidParams, Unauthorized
from shared.store import Store
from shared.store.audit import AuditEntry
from shared.store.users import KEY_PREFIX, USE_RECORDED_MS, User

if TYPE_CHECKING:
    from api.access.oidc_provider import Provider
    from api.access.oidc_tokens import OidcTokens
    from api.access.tokens import Tokens, TokenUser

logger = logging.getLogger(__name__)

CACHE_SECONDS = 30.0  # for which a credential is not checked again; a revoked one opens nothing new afterwards
USERS_CACHE_SECONDS = 2.0  # after which a server notices that it has its first user
MAX_CACHED = 10_000


@dataclass(slots=True)
class _CachedCaller:
    """The caller of a credential. expires_s: monotonic seconds."""

    caller: Caller
    expires_s: float


def _make_tokens(config: Config) -> Tokens | None:
    if config.auth is None or not config.auth.has_tokens:
        return None
    from api.access.tokens import Tokens  # imports cryptography, which takes a twentieth of a process's start-up time

    return Tokens(config.auth)


def _make_provider(config: Config) -> Provider | None:
    settings = config.auth.oidc if config.auth is not None else None
    if settings is None:
        return None
    if settings.client_secret_env_var and not settings.client_secret:
        variable = settings.client_secret_env_var
        raise ConfigError(f"[auth.oidc] client_secret_env_var: expected the environment variable {variable} to be set")
    from api.access.oidc_provider import Provider

    return Provider(settings)


def _make_oidc_tokens(config: Config, provider: Provider | None) -> OidcTokens | None:
    if config.auth is None or provider is None:
        return None
    from api.access.oidc_tokens import OidcTokens

    return OidcTokens(provider, config.auth.leeway_seconds)


class Auth:
    """Authenticates the requests of one API process.

    provider:    where users sign in; None: nowhere
    oidc_tokens: verifies the provider's tokens
    Errors:      ConfigError (the file of [auth] cannot be used, or the secret of [auth.oidc] is missing)
    """

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._tokens = _make_tokens(config)
        self.provider = _make_provider(config)
        self.oidc_tokens = _make_oidc_tokens(config, self.provider)
        self._cache: dict[bytes, _CachedCaller] = {}
        self._users_exist = False
        self._users_checked_s = float("-inf")

    def authenticate(self, request: Request, transport: Transport) -> Caller:
        """Return who sends a request. Errors: Unauthorized, Forbidden (a foreign Host)."""
        if "Authorization" in request.headers:  # its sender may be the first user, and not the local one
            self._users_checked_s = float("-inf")
        self.check_host(request)
        address = request.remote_addr or ""
        if not self.requires_credential():
            if not _is_loopback(address) or _is_proxied(request):
                raise Unauthorized(
                    "this server has no users yet and serves only its own machine; to serve others, create a user and "
                    "a key on the server: `threadhouse users add NAME`, then `threadhouse keys create NAME`"
                )
            return Caller(LOCAL, transport=transport, address=address)
        secret = session_cookie.read(request) if transport == "http" else None
        if secret is not None and "Authorization" not in request.headers:
            session_cookie.check_sender(request)
            return replace(self._by_session(secret), transport=transport, address=address)
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise Unauthorized("API key required: set THREADHOUSE_TOKEN or send Authorization: Bearer <key>.")
        return self.check_credential(credential.strip(), transport, address)

    def check_credential(self, credential: str, transport: Transport, address: str) -> Caller:
        """Return whose API key or token it is. Errors: Unauthorized."""
        return replace(self._by_credential(credential, address), transport=transport, address=address)

    def requires_credential(self) -> bool:
        """Whether the server has users or accepts tokens; without either it serves its own machine."""
        if self._accepts_tokens():
            return True
        now_s = time.monotonic()
        if not self._users_exist and now_s - self._users_checked_s > USERS_CACHE_SECONDS:
            self._users_exist = self._store.users.exist()
            self._users_checked_s = now_s
        return self._users_exist

    def credential_expires_at_ms(self, credential: str, caller: Caller) -> int | None:
        """Return when a credential that was accepted ends; None: never."""
        if caller.auth_mode == "jwt":
            return int((time.time() + self._read_token(credential).left_s) * 1000)
        key = self._store.users.find_by_key(credential)
        return None if key is None else key.expires_at_ms

    def forget_session(self, secret: str) -> None:
        """Have this process look a session up again, because it has ended."""
        self._cache.pop(_digest(session_cookie.NAME + secret), None)

    def check_origin(self, request: Request, *, own_allowed: bool = True) -> None:
        """Refuse what a browser sends for a page of another site.

        own_allowed: whether the server's own pages may send the request
        Errors:      Forbidden
        """
        origin = request.headers.get("Origin")
        if origin is not None and not (own_allowed and origin.partition("://")[2] == request.host):
            raise Forbidden("requests from pages of other origins are refused; call the server without a browser")

    def check_host(self, request: Request) -> None:
        """Refuse a Host that is not this server's, if [server] hosts is set or requests need no credential.

        Errors: Forbidden
        """
        hosts = self._config.server.hosts
        if not hosts and self.requires_credential():
            return
        try:
            name = urlsplit(f"//{request.host}").hostname or ""
        except ValueError:
            name = ""
        if name not in ("localhost", self._config.server.host.lower(), *hosts) and not (name and _is_loopback(name)):
            raise Forbidden(
                "requests for an unknown Host are refused; add the server's name to [server] hosts in config.toml"
            )

    def find_ended(self, callers: Collection[Caller]) -> set[Caller]:
        """Return the callers whose credentials are no longer valid; record that the other keys are in use."""
        keys = {caller.key_id for caller in callers if caller.key_id is not None}
        valid_keys = self._store.users.valid_keys(keys) if keys else set()
        if valid_keys:
            self._store.users.record_uses(valid_keys)
        token_users = {caller.user_id for caller in callers if caller.auth_mode == "jwt"}
        enabled = self._store.users.enabled(token_users) if token_users else set()
        session_ids = {caller.session_id for caller in callers if caller.session_id is not None}
        sessions = self._store.sessions.valid(session_ids) if session_ids else set()
        share_ids = {caller.share_id for caller in callers if caller.share_id is not None}
        shares = self._store.thread_shares.valid(share_ids) if share_ids else set()
        return {caller for caller in callers if not self._is_valid(caller, valid_keys, enabled, sessions, shares)}

    def _is_valid(
        self,
        caller: Caller,
        valid_keys: Collection[str],
        enabled_users: Collection[str],
        valid_sessions: Collection[str],
        valid_shares: Collection[str],
    ) -> bool:
        if caller.share_id is not None:
            return caller.share_id in valid_shares
        if caller.session_id is not None:
            return caller.session_id in valid_sessions
        if caller.auth_mode == "api_key":
            return caller.key_id in valid_keys
        if caller.auth_mode == "jwt":
            return caller.user_id in enabled_users and self._is_token_valid(caller.credential or "")
        return not self.requires_credential()

    def _by_credential(self, credential: str, address: str) -> Caller:
        digest, now_s = _digest(credential), time.monotonic()
        cached = self._cache.get(digest)
        if cached is not None and cached.expires_s > now_s:
            return cached.caller
        self._cache.pop(digest, None)
        if credential.startswith(KEY_PREFIX) or not self._accepts_tokens():
            cached = _CachedCaller(self._by_key(credential), now_s + CACHE_SECONDS)
        else:
            named = self._read_token(credential)
            user = self.find_user(named.name, address, creates=named.creates)
            user = replace(user, role="admin") if named.is_admin else user
            cached = _CachedCaller(Caller(user, "jwt", credential=credential), now_s + min(CACHE_SECONDS, named.left_s))
        return self._remember(digest, cached)

    def _by_session(self, secret: str) -> Caller:
        digest, now_s = _digest(session_cookie.NAME + secret), time.monotonic()
        cached = self._cache.get(digest)
        if cached is not None and cached.expires_s > now_s:
            return cached.caller
        self._cache.pop(digest, None)
        session = self._store.sessions.find(secret)
        accepted = self.provider if session is not None and session.from_provider else self._tokens or self.provider
        if session is None or (session.key_id is None and accepted is None):
            raise Unauthorized("the session has ended; sign in again")
        left_s = session.expires_at_ms / 1000 - time.time()
        mode: AuthMode = "jwt" if session.key_id is None else "api_key"
        caller = Caller(session.user, mode, session.key_id, session_id=session.id)
        return self._remember(digest, _CachedCaller(caller, now_s + min(CACHE_SECONDS, left_s)))

    def _remember(self, digest: bytes, cached: _CachedCaller) -> Caller:
        if len(self._cache) >= MAX_CACHED:
            self._cache.clear()
        self._cache[digest] = cached
        return cached.caller

    def _by_key(self, credential: str) -> Caller:
        key = self._store.users.find_by_key(credential)
        if key is None:
            if self._store.users.has_disabled_owner(credential):
                raise Unauthorized(
                    "your user is disabled: ask the operator, who enables it with `threadhouse users enable NAME`"
                )
            raise Unauthorized(
                "the API key is wrong, expired or revoked; the operator creates a new one with "
                "`threadhouse keys create NAME`"
            )
        if key.last_used_at_ms is None or key.last_used_at_ms <= time.time() * 1000 - USE_RECORDED_MS:
            threading.Thread(target=self._record_use, args=(key.id,), name="key use", daemon=True).start()
        return Caller(key.user, "api_key", key.id)

    def _record_use(self, key_id: str) -> None:
        """Record the use of a key, in a thread of its own so that the request need not wait."""
        try:
            self._store.users.record_uses([key_id])
        except Exception as error:  # noqa: BLE001 - the next use is recorded again
            logger.warning("use of a key not recorded: %s", error, extra={"key_id": key_id})

    def find_user(self, name: str, address: str, *, creates: bool) -> User:
        """Return the user that a token names. creates: whether to add an unknown one. Errors: Unauthorized."""
        account = self._store.users.find(name)
        if account is None and creates:
            try:
                return self._store.users.add(name, audit_entry=AuditEntry.of_operator("users add", address=address))
            except Conflict:  # a concurrent request with the same token has added the user
                account = self._store.users.find(name)
            except InvalidParams as error:
                raise Unauthorized(f"the token's user claim is not a valid user name: {error}") from None
        if account is None or account.disabled_at_ms is not None:
            raise Unauthorized(
                "the token's user is unknown to this server or disabled; the operator adds or "
                "enables it with `threadhouse users add NAME` or `threadhouse users enable NAME`"
            )
        return account.user

    def _accepts_tokens(self) -> bool:
        return self._tokens is not None or self.oidc_tokens is not None

    def _read_token(self, token: str) -> TokenUser:
        """Return whom a token names: one of [auth], or one of the provider. Errors: Unauthorized, Unavailable."""
        if self._tokens is not None:
            try:
                return self._tokens.read(token)
            except Unauthorized:
                if self.oidc_tokens is None:
                    raise
        assert self.oidc_tokens is not None
        return self.oidc_tokens.read(token)

    def _is_token_valid(self, token: str) -> bool:
        """Return whether a token is accepted now. Errors: Unavailable (the provider's keys are not known yet)."""
        try:
            return self._accepts_tokens() and bool(self._read_token(token))
        except Unauthorized:
            return False


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode()).digest()


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == ""  # a Unix socket has no address


def _is_proxied(request: Request) -> bool:
    """Whether a proxy has forwarded the request; its address is then the proxy's, which may be loopback."""
    return "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
