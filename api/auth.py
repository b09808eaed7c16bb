"""Who sends a request, and from which page: bearer token → User, Origin and Host.

Without users the server belongs to whoever sits at its machine: one local user, over loopback only. A web page that the
same person visits could reach it too, so that foreign origins and host names are refused (RFC 6454; DNS rebinding).
"""

from __future__ import annotations

import hashlib
import ipaddress
import time
from dataclasses import dataclass

from flask import Request

from shared.config import Config
from shared.errors import Forbidden, Unauthorized
from shared.store import Store
from shared.store.users import LOCAL_USER, User

KEY_CACHE_SECONDS = 30.0  # a revoked key works no longer than this
USERS_CACHE_SECONDS = 2.0  # after the first user was made
MAX_CACHED_KEYS = 10_000

LOCAL = User(LOCAL_USER, LOCAL_USER, "admin")


@dataclass(slots=True)
class _Known:
    user: User
    until_s: float


class Auth:
    """Looks requests over before anything else does."""

    def __init__(self, config: Config, store: Store) -> None:
        self._config = config
        self._store = store
        self._keys: dict[bytes, _Known] = {}
        self._users_exist = False
        self._looked_at_s = float("-inf")

    def user(self, request: Request) -> User:
        """Whose request it is. Errors: Unauthorized, Forbidden (a foreign Host, where no key tells who it is)."""
        if not self._users():
            if not _is_loopback(request.remote_addr or ""):
                raise Unauthorized("this server has no users yet and serves its own machine only")
            self._check_host(request)
            return LOCAL
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("a key is needed: Authorization: Bearer th_…")
        return self._by_key(key.strip())

    def check_origin(self, request: Request, *, own_allowed: bool = True) -> None:
        """Refuse what a browser sends for a page of somebody else. Errors: Forbidden."""
        origin = request.headers.get("Origin")
        if origin is not None and not (own_allowed and origin.partition("://")[2] == request.host):
            raise Forbidden("requests of foreign origins are refused")

    def _check_host(self, request: Request) -> None:
        host = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
        name = (host if ":" in request.host else request.host).strip("[]").lower()
        if not (name in ("localhost", self._config.server.host.lower()) or _is_loopback(name)):
            raise Forbidden("requests for a foreign Host are refused")

    def _users(self) -> bool:
        now_s = time.monotonic()
        if not self._users_exist and now_s - self._looked_at_s > USERS_CACHE_SECONDS:
            self._users_exist = self._store.users.exist()
            self._looked_at_s = now_s
        return self._users_exist

    def _by_key(self, key: str) -> User:
        digest = hashlib.sha256(key.encode()).digest()
        known = self._keys.get(digest)
        now_s = time.monotonic()
        if known is not None and known.until_s > now_s:
            return known.user
        user = self._store.users.by_key(key)
        if user is None:
            self._keys.pop(digest, None)
            raise Unauthorized("the key is wrong, expired or revoked")
        if len(self._keys) >= MAX_CACHED_KEYS:
            self._keys.clear()
        self._keys[digest] = _Known(user, now_s + KEY_CACHE_SECONDS)
        return user


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == ""  # a unix socket has no address
