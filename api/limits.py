"""What one user may do at once and how often, over WebSocket and HTTP alike (DESIGN: limits).

Requests and connections are counted in Redis, for all API processes; without Redis they are let through.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import redis
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from sqlalchemy.exc import SQLAlchemyError

from shared.config import Limits
from shared.errors import Overloaded
from shared.ids import new_id
from shared.store import Store

logger = logging.getLogger(__name__)

KNOWN_SECONDS = 10.0  # for which a user's limits are not read again
MAX_KNOWN_USERS = 10_000
COUNTED_SECONDS = 30.0  # for which a connection counts when its API process says no more
CONNECTION_RETRY_MS = 5000  # nobody knows when a user hangs up elsewhere
ROOM_RETRY_MS = 60_000  # room for threads and bytes comes from deleting some

# KEYS: set of a user's connections by expiry. ARGV: connection, limit, ms that it counts. Whether it was let in.
_ENTER = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
# KEYS: the same. ARGV: ms that they count, connections. Also brings back what Redis lost.
_STAY = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class Known:
    """A user's limits as they were read. until: monotonic seconds."""

    limits: Limits
    until: float


class UserLimits:
    """The limits of users, as one API process applies them."""

    def __init__(self, commands: redis.Redis, store: Store, defaults: Limits) -> None:
        self._store = store
        self._defaults = defaults
        self._known: dict[str, Known] = {}
        self._commands = commands
        storage = RedisStorage(
            "redis://", connection_pool=commands.connection_pool, key_prefix="limits", wrap_exceptions=True
        )
        self._limiter = FixedWindowRateLimiter(storage)
        self._enter = commands.register_script(_ENTER)
        self._stay = commands.register_script(_STAY)
        self._lock = threading.Lock()
        self._connections: dict[str, set[str]] = {}  # user → those of this process that count
        self._staying = False

    def of(self, user_id: str) -> Limits:
        """What holds for this user, as of a few seconds ago."""
        known = self._known.get(user_id)
        if known is not None and time.monotonic() < known.until:
            return known.limits
        try:
            limits = self._store.limits.of(user_id, self._defaults)
        except SQLAlchemyError as error:
            logger.warning("a user's limits cannot be read: %s", error)
            return known.limits if known is not None else self._defaults
        if len(self._known) >= MAX_KNOWN_USERS:
            self._known.clear()
        self._known[user_id] = Known(limits, time.monotonic() + KNOWN_SECONDS)
        return limits

    def check_request(self, user_id: str) -> None:
        """Count a request. Errors: Overloaded, with the time until the next minute begins."""
        per_minute = self.of(user_id).requests_per_minute
        if not per_minute:
            return
        limit = RateLimitItemPerMinute(per_minute)
        try:
            if self._limiter.hit(limit, "requests", user_id):
                return
            reset_s = self._limiter.get_window_stats(limit, "requests", user_id).reset_time
        except StorageError as error:
            logger.warning("requests are not counted: %s", error)
            return
        left_ms = max(1000, round((reset_s - time.time()) * 1000))
        raise Overloaded(f"more than {per_minute} requests in a minute; retry later", retry_after_ms=left_ms)

    def check_threads(self, user_id: str) -> None:
        """Whether there is room for one more thread. Errors: Overloaded."""
        most = self.of(user_id).threads
        if most and self._store.threads.has(user_id, most):
            raise Overloaded(f"you have {most} threads, and may have no more; delete some", ROOM_RETRY_MS)
        self.check_bytes(user_id)

    def check_bytes(self, user_id: str) -> None:
        """Whether there is room for more to say. Errors: Overloaded."""
        most = self.of(user_id).stored_bytes
        if most and self._store.threads.stored_bytes(user_id) >= most:
            raise Overloaded(
                f"your threads hold {most} bytes or more, and may hold no more; delete some", ROOM_RETRY_MS
            )

    # -- connections

    def enter(self, user_id: str) -> Callable[[], None]:
        """Count a WebSocket or event stream; what is to be called at its end. Errors: Overloaded."""
        most = self.of(user_id).connections
        if not most:
            return lambda: None
        name = new_id()
        try:
            if not self._enter([f"connections:{user_id}"], [name, most, round(COUNTED_SECONDS * 1000)]):
                raise Overloaded(f"{most} connections are open already; close one", CONNECTION_RETRY_MS)
        except redis.RedisError as error:
            logger.warning("connections are not counted: %s", error)
        with self._lock:
            self._connections.setdefault(user_id, set()).add(name)
            if not self._staying:
                self._staying = True
                threading.Thread(target=self._keep_staying, name="connections", daemon=True).start()
        return lambda: self._leave(user_id, name)

    def _leave(self, user_id: str, name: str) -> None:
        with self._lock:
            mine = self._connections.get(user_id, set())
            mine.discard(name)
            if not mine:
                self._connections.pop(user_id, None)
        try:
            self._commands.zrem(f"connections:{user_id}", name)
        except redis.RedisError as error:
            logger.warning("a connection counts for a while longer: %s", error)

    def _keep_staying(self) -> None:
        while True:
            time.sleep(COUNTED_SECONDS / 3)
            try:
                self.stay()
            except redis.RedisError as error:
                logger.warning("connections are not counted: %s", error)

    def stay(self) -> None:
        """The connections of this process still count. Errors: redis.RedisError."""
        with self._lock:
            counted = {user_id: sorted(names) for user_id, names in self._connections.items()}
        for user_id, names in counted.items():
            self._stay([f"connections:{user_id}"], [round(COUNTED_SECONDS * 1000), *names])
            with self._lock:
                gone = set(names) - self._connections.get(user_id, set())
            if gone:  # they hung up meanwhile
                self._commands.zrem(f"connections:{user_id}", *gone)
