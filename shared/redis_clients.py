"""Clients of Redis for each form of THREADHOUSE_REDIS_URL (shared.config.redis_url).

After a failover the clients get errors until they reach the new master, as after any restart of Redis.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import redis
from redis.sentinel import Sentinel

from shared.config.redis_url import SENTINELS

SENTINEL_PORT = 26_379
SENTINEL_SECONDS = 1.0  # time-out of a connect and of each answer of a Sentinel; then the next one is asked


def connect(url: str, **options: Any) -> redis.Redis:
    """Return a client, which connects when it is first used. options: of redis.Redis."""
    found = SENTINELS.fullmatch(url)
    if found is None:
        return redis.Redis.from_url(url, **options)
    user, _, password = (found["login"] or "")[:-1].partition(":")
    addresses = [_address(host) for host in found["hosts"].split(",")]
    sentinels: Any = Sentinel(addresses, sentinel_kwargs=_SENTINEL_OPTIONS)  # type: ignore[no-untyped-call]
    return sentinels.master_for(  # type: ignore[no-any-return]
        found["master"],
        db=int(found["db"] or 0),
        username=unquote(user) or None,
        password=unquote(password) or None,
        **options,
    )


def broker(url: str) -> tuple[str, dict[str, object]]:
    """Return (the URL of the same Redis as Celery's broker, the transport options that it needs)."""
    found = SENTINELS.fullmatch(url)
    if found is None:
        return url.replace("unix://", "redis+socket://", 1), {}
    addresses = [_address(host) for host in found["hosts"].split(",")]
    # Celery moves on to the next URL after an error, so each one has the login and the database.
    urls = [f"sentinel://{found['login'] or ''}{host}:{port}/{found['db'] or 0}" for host, port in addresses]
    return ";".join(urls), {"master_name": found["master"], "sentinel_kwargs": _SENTINEL_OPTIONS}


_SENTINEL_OPTIONS = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    return (host, int(port)) if colon else (text, SENTINEL_PORT)
