"""Who sends a request, and from which page: bearer token → Caller, Origin and Host.

Without users the server belongs to whoever sits at its machine: one local user, over loopback only. A web page that the
same person visits could reach it too, so that foreign origins and host names are refused (RFC 6454; DNS rebinding).
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from flask import Request

from api.caller import LOCAL, Caller
from api.tokens import Tokens
from shared.config import Config
from shared.errors import Conflict, Forbidden, InvalidParams, Unauthorized
from shared.store import Store
from shared.store.audit import Act
from shared.store.users import KEY_PREFIX, USE_NOTED_MS, User

logger = logging.getLogger(__name__)

CACHE_SECONDS = 30.0  # a revoked key opens nothing new after this
USERS_CACHE_SECONDS = 2.0  # after the first user was made
MAX_CACHED = 10_000


@dataclass(slots=True)
class _Known:
    caller: Caller
    until_s: float


class Auth:
    """Looks requests over before anything else does.

    Errors: ConfigError (the file of [auth] cannot be used)
    """

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._tokens = Tokens(config.auth) if config.auth else None
        self._known: dict[bytes, _Known] = {}
        self._users_exist = False
        self._looked_at_s = float("-inf")

    def caller(self, request: Request, door: str) -> Caller:
        """Whose request it is. Errors: Unauthorized, Forbidden (a foreign Host)."""
        self.check_host(request)
        address = request.remote_addr or ""
        if not self._is_closed():
            if not _is_loopback(address) or _came_through_a_proxy(request):
                raise Unauthorized(
                    "this server has no users yet and serves its own machine only: "
                    "`threadhouse users add NAME`, `threadhouse keys create NAME`"
                )
            return Caller(LOCAL, door=door, address=address)
        scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise Unauthorized("a key is needed: Authorization: Bearer th_…")
        return replace(self._by_credential(credential.strip(), address), door=door, address=address)

    def check_origin(self, request: Request, *, own_allowed: bool = True) -> None:
        """Refuse what a browser sends for a page of somebody else. Errors: Forbidden."""
        origin = request.headers.get("Origin")
        if origin is not None and not (own_allowed and origin.partition("://")[2] == request.host):
            raise Forbidden("requests of foreign origins are refused")

    def check_host(self, request: Request) -> None:
        """Refuse names that are not this server's, where a key does not tell who it is or [server] hosts is set.

        Errors: Forbidden
        """
        hosts = self._config.server.hosts
        if not hosts and self._is_closed():
            return
        try:
            name = urlsplit(f"//{request.host}").hostname or ""
        except ValueError:
            name = ""
        if name not in ("localhost", self._config.server.host.lower(), *hosts) and not (name and _is_loopback(name)):
            raise Forbidden("requests for a foreign Host are refused; [server] hosts names those of this server")

    def ended(self, callers: Collection[Caller]) -> set[Caller]:
        """Those of them who would not be let in any more. Those who would are noted as using their keys."""
        keys = {one.key_id for one in callers if one.key_id is not None}
        good_keys = self._store.users.good_keys(keys) if keys else set()
        if good_keys:
            self._store.users.note_uses(good_keys)
        of_tokens = {one.user_id for one in callers if one.auth_mode == "jwt"}
        enabled = self._store.users.enabled(of_tokens) if of_tokens else set()
        over = set()
        for one in callers:
            if one.auth_mode == "api_key":
                good = one.key_id in good_keys
            elif one.auth_mode == "jwt":
                good = one.user_id in enabled and self._tokens is not None and self._tokens.is_good(one.credential)
            else:
                good = not self._is_closed()
            if not good:
                over.add(one)
        return over

    def _is_closed(self) -> bool:
        """Whether every request needs a credential."""
        now_s = time.monotonic()
        if self._tokens is None and not self._users_exist and now_s - self._looked_at_s > USERS_CACHE_SECONDS:
            self._users_exist = self._store.users.exist()
            self._looked_at_s = now_s
        return self._tokens is not None or self._users_exist

    def _by_credential(self, credential: str, address: str) -> Caller:
        digest = hashlib.sha256(credential.encode()).digest()
        known = self._known.get(digest)
        now_s = time.monotonic()
        if known is not None and known.until_s > now_s:
            return known.caller
        self._known.pop(digest, None)
        if credential.startswith(KEY_PREFIX) or self._tokens is None:
            known = _Known(self._by_key(credential), now_s + CACHE_SECONDS)
        else:
            name, left_s = self._tokens.read(credential)
            caller = Caller(self._by_name(name, address), "jwt", credential=credential)
            known = _Known(caller, now_s + min(CACHE_SECONDS, left_s))
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        self._known[digest] = known
        return known.caller

    def _by_key(self, credential: str) -> Caller:
        key = self._store.users.by_key(credential)
        if key is None:
            raise Unauthorized("the key is wrong, expired or revoked")
        if key.last_used_at_ms is None or key.last_used_at_ms <= time.time() * 1000 - USE_NOTED_MS:
            threading.Thread(target=self._note_use, args=(key.id,), name="key use", daemon=True).start()
        return Caller(key.user, "api_key", key.id)

    def _note_use(self, key_id: str) -> None:
        """Beside the request, which does not wait for it."""
        try:
            self._store.users.note_uses([key_id])
        except Exception as error:  # noqa: BLE001 - the next use is noted again
            logger.warning("a key's use was not noted: %s", error, extra={"key_id": key_id})

    def _by_name(self, name: str, address: str) -> User:
        """Whom a token names. Errors: Unauthorized."""
        assert self._config.auth is not None
        account = self._store.users.find(name)
        if account is None and self._config.auth.create_users:
            try:
                return self._store.users.add(name, act=Act.of_operator("users add", address=address))
            except Conflict:  # another request with it was faster
                account = self._store.users.find(name)
            except InvalidParams as error:
                raise Unauthorized(f"the token names nobody: {error}") from None
        if account is None or account.disabled_at_ms is not None:
            raise Unauthorized("the token's user is unknown here or disabled")
        return account.user


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == ""  # a unix socket has no address


def _came_through_a_proxy(request: Request) -> bool:
    """One that says so: then loopback is only where the proxy is."""
    return "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
