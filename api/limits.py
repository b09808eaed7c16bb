"""How often one user may ask, over WebSocket and HTTP alike (DESIGN: limits)."""

from __future__ import annotations

import logging
import time

import redis
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from shared.errors import Overloaded

logger = logging.getLogger(__name__)


class RequestLimit:
    """Requests a minute of each user, counted in Redis for all API processes. Without Redis it lets through."""

    def __init__(self, commands: redis.Redis, per_minute: int) -> None:
        """per_minute: 0 for no limit"""
        self._limit = RateLimitItemPerMinute(per_minute) if per_minute else None
        storage = RedisStorage(
            "redis://", connection_pool=commands.connection_pool, key_prefix="limits", wrap_exceptions=True
        )
        self._limiter = FixedWindowRateLimiter(storage)

    def check(self, user_id: str) -> None:
        """Count a request. Errors: Overloaded, with the time until the next minute begins."""
        if self._limit is None:
            return
        try:
            if self._limiter.hit(self._limit, "requests", user_id):
                return
            reset_s = self._limiter.get_window_stats(self._limit, "requests", user_id).reset_time
        except StorageError as error:
            logger.warning("requests are not counted: %s", error)
            return
        left_ms = max(1000, round((reset_s - time.time()) * 1000))
        raise Overloaded(f"more than {self._limit.amount} requests in a minute; retry later", retry_after_ms=left_ms)
