"""Limit how much one user may do at once and how often, over WebSocket and HTTP alike (DESIGN: limits).

Requests and connections are counted in Redis, for all API processes together; while Redis is away they are not limited.
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

from api.access.capacity import CONNECTIONS, BodyMemory, ReplyMemory
from shared import telemetry
from shared.config import Limits
from shared.errors import Overloaded
from shared.fair_share import FairShare
from shared.ids import new_id
from shared.store import Store

logger = logging.getLogger(__name__)

CACHE_SECONDS = 10.0  # for which a user's limits are not read again
OUTAGE_SECONDS = 1.0  # the same after the database did not answer, so that one request waits for it once
MAX_CACHED_USERS = 10_000
COUNTED_SECONDS = 30.0  # for which a connection counts after the last renewal by its API process
CONNECTION_RETRY_MS = 5000  # a guess: the user may close a connection at any time
GUESSES_PER_MINUTE = 60  # of share links, from one address: far more than a person pastes wrongly
READS_PER_MINUTE = 240  # by share links, from one address: far more than some people behind one address read
SPACE_RETRY_MS = 60_000  # a guess: retrying helps only after the user has deleted threads

# Count a connection. KEYS: sorted set of a user's connections by expiry. ARGV: connection, limit, ms until it expires.
# Returns 1 when it was counted, 0 when the limit is reached.
_COUNT_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
# Renew connections, and add those that Redis lost. KEYS: as above. ARGV: ms until they expire, connections.
_RENEW_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[1]), ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


@dataclass(frozen=True, slots=True)
class CachedLimits:
    """A user's limits as the store had them. expires_s: monotonic seconds."""

    limits: Limits
    expires_s: float


class RequestLimits:
    """Applies the limits of users in one API process.

    bodies:  the memory for bodies of requests
    replies: the memory for replies
    """

    def __init__(self, commands: redis.Redis, store: Store, defaults: Limits) -> None:
        self._store = store
        self._defaults = defaults
        self._cache: dict[str, CachedLimits] = {}
        self._commands = commands
        self._open = FairShare(CONNECTIONS)
        self.bodies = BodyMemory()
        self.replies = ReplyMemory()
        storage = RedisStorage(
            "redis://", connection_pool=commands.connection_pool, key_prefix="limits", wrap_exceptions=True
        )
        self._limiter = FixedWindowRateLimiter(storage)
        self._count_script = commands.register_script(_COUNT_SCRIPT)
        self._renew_script = commands.register_script(_RENEW_SCRIPT)
        self._lock = threading.Lock()
        self._connections: dict[str, set[str]] = {}  # user → counted connections of this process
        self._renewing = False

    def of(self, user_id: str) -> Limits:
        """Return the user's limits, as of at most CACHE_SECONDS ago; the last known ones while the database is away."""
        cached = self._cache.get(user_id)
        if cached is not None and time.monotonic() < cached.expires_s:
            return cached.limits
        seconds = CACHE_SECONDS
        try:
            limits = self._store.limits.of(user_id, self._defaults)
        except SQLAlchemyError as error:
            logger.warning("limits of a user not read: %s", error, extra={"user_id": user_id})
            limits, seconds = (cached.limits if cached is not None else self._defaults), OUTAGE_SECONDS
        if len(self._cache) >= MAX_CACHED_USERS:
            self._cache.clear()
        self._cache[user_id] = CachedLimits(limits, time.monotonic() + seconds)
        return limits

    def check_request(self, user_id: str) -> None:
        """Count a request. Errors: Overloaded, with the time until the next minute."""
        per_minute = self.of(user_id).requests_per_minute
        if not per_minute:
            return
        self._count(lambda limit: self._limiter.hit(limit, "requests", user_id), per_minute, "requests", user_id)

    def check_read(self, address: str) -> None:
        """Count a read by a share link, whose reader is no user and may have no other limit.

        Errors: Overloaded, with the time until the next minute
        """
        self._count(lambda limit: self._limiter.hit(limit, "reads", address), READS_PER_MINUTE, "reads", address)

    def check_guesses(self, address: str) -> None:
        """Check that an address may name one more share link: `count_guess` counts those that open nothing.

        Errors: Overloaded, with the time until the next minute
        """
        self._count(lambda limit: self._limiter.test(limit, "guesses", address), GUESSES_PER_MINUTE, "guesses", address)

    def count_guess(self, address: str) -> None:
        """Count a share link that opens nothing."""
        try:
            self._limiter.hit(RateLimitItemPerMinute(GUESSES_PER_MINUTE), "guesses", address)
        except StorageError as error:
            logger.warning("guess not counted: %s", error)

    def _count(self, passes: Callable[[RateLimitItemPerMinute], bool], per_minute: int, what: str, whose: str) -> None:
        limit = RateLimitItemPerMinute(per_minute)
        try:
            if passes(limit):
                return
            reset_s = self._limiter.get_window_stats(limit, what, whose).reset_time
        except StorageError as error:
            logger.warning("request not counted: %s", error)
            return
        telemetry.limit_refused("requests_per_minute")
        left_ms = max(1000, round((reset_s - time.time()) * 1000))
        raise Overloaded(
            f"more than {per_minute} {what} in a minute; retry in {-(-left_ms // 1000)} s", retry_after_ms=left_ms
        )

    def check_threads(self, user_id: str) -> None:
        """Check that the user may have one more thread, and more stored bytes. Errors: Overloaded."""
        most = self.of(user_id).threads
        if most and self._store.threads.has(user_id, most):
            telemetry.limit_refused("threads")
            raise Overloaded(f"you have {most} threads, the most that this server allows; delete some", SPACE_RETRY_MS)
        self.check_bytes(user_id)

    def check_bytes(self, user_id: str) -> None:
        """Check that the user's threads may hold more bytes. Errors: Overloaded."""
        most = self.of(user_id).stored_bytes
        if most and self._store.threads.stored_bytes(user_id) >= most:
            telemetry.limit_refused("stored_bytes")
            raise Overloaded(
                f"your threads hold {most} bytes, the most that this server allows; delete some", SPACE_RETRY_MS
            )

    # -- connections

    def count_connection(self, user_id: str) -> Callable[[], None]:
        """Count a WebSocket or event stream; return a function to call when it ends. Errors: Overloaded."""
        if not self._open.take(user_id, 1):
            telemetry.limit_refused("connections")
            raise Overloaded("you have too many open connections for this server; close some", CONNECTION_RETRY_MS)
        try:
            release_slot = self._count_in_all_processes(user_id)
        except BaseException:
            self._open.give_back(user_id, 1)
            raise

        def release() -> None:
            self._open.give_back(user_id, 1)
            release_slot()

        return release

    def _count_in_all_processes(self, user_id: str) -> Callable[[], None]:
        most = self.of(user_id).connections
        if not most:
            return lambda: None
        name = new_id()
        try:
            if not self._count_script([f"connections:{user_id}"], [name, most, round(COUNTED_SECONDS * 1000)]):
                telemetry.limit_refused("connections")
                raise Overloaded(
                    f"you have {most} open connections, the most that this server allows; close one",
                    CONNECTION_RETRY_MS,
                )
        except redis.RedisError as error:
            logger.warning("connection not counted: %s", error)
        with self._lock:
            self._connections.setdefault(user_id, set()).add(name)
            if not self._renewing:
                self._renewing = True
                threading.Thread(target=self._renew_forever, name="connections", daemon=True).start()
        return lambda: self._forget(user_id, name)

    def _forget(self, user_id: str, name: str) -> None:
        with self._lock:
            mine = self._connections.get(user_id, set())
            mine.discard(name)
            if not mine:
                self._connections.pop(user_id, None)
        try:
            self._commands.zrem(f"connections:{user_id}", name)
        except redis.RedisError as error:
            logger.warning("ended connection still counted until it expires: %s", error)

    def _renew_forever(self) -> None:
        while True:
            time.sleep(COUNTED_SECONDS / 3)
            try:
                self.renew()
            except redis.RedisError as error:
                logger.warning("connections not renewed: %s", error)

    def renew(self) -> None:
        """Count the connections of this process for COUNTED_SECONDS more. Errors: redis.RedisError."""
        with self._lock:
            counted = {user_id: sorted(names) for user_id, names in self._connections.items()}
        for user_id, names in counted.items():
            self._renew_script([f"connections:{user_id}"], [round(COUNTED_SECONDS * 1000), *names])
            with self._lock:
                ended = set(names) - self._connections.get(user_id, set())
            if ended:  # while they were renewed
                self._commands.zrem(f"connections:{user_id}", *ended)
