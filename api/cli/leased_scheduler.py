"""The scheduler of which any number may run: the one that has the lease in Redis enqueues, the others stand by.

Two that both enqueue for a moment do no harm, because each periodic task may run twice (workers/tasks).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from typing import Any

import redis
from celery.beat import Scheduler

from shared import config as configuration
from shared import redis_clients
from shared.event_names import SCHEDULER_LEASE_KEY
from shared.ids import new_id

LEASE_SECONDS = 30
RENEWAL_SECONDS = 5.0  # between two renewals, and between two tries of a scheduler that stands by
REDIS_SECONDS = 3.0  # for which an answer of Redis is waited for

# KEYS: the lease. ARGV: who asks, for how many seconds. Returns 1 if the asker has the lease now.
_ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"

logger = logging.getLogger(__name__)


holds_lease = threading.Event()  # set while this process is the one that enqueues


class LeasedScheduler(Scheduler):  # type: ignore[misc]
    """Celery's scheduler behind a lease."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        url = configuration.load(None, os.environ).redis_url
        self._redis = redis_clients.connect(url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
        self._name = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-12:]}"
        self._asked_at = float("-inf")
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Enqueue what is due, if this process has the lease. Returns the seconds until the next tick."""
        if time.monotonic() - self._asked_at >= RENEWAL_SECONDS:
            self._acquire()
        if not holds_lease.is_set():
            return float(self.max_interval)
        return float(super().tick(*args, **kwargs))

    def close(self) -> None:
        """Give the lease back, so that another scheduler goes on at once."""
        try:
            self._redis.eval(_RELEASE, 1, SCHEDULER_LEASE_KEY, self._name)
        except redis.RedisError as error:
            logger.warning("lease not given back: %s", error)
        super().close()

    def _acquire(self) -> None:
        self._asked_at = time.monotonic()
        try:
            holds = self._redis.eval(_ACQUIRE, 1, SCHEDULER_LEASE_KEY, self._name, LEASE_SECONDS) == 1
        except redis.RedisError as error:
            logger.warning("Redis did not answer, nothing enqueued: %s", error)
            holds = False
        if holds and not holds_lease.is_set():
            logger.info("lease acquired, enqueueing")
            holds_lease.set()
        elif not holds and holds_lease.is_set():
            logger.warning("lease lost, standing by")
            holds_lease.clear()
