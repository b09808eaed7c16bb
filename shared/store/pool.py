"""The connections of one process, in the order in which they were asked for.

SQLAlchemy's own pool gives a connection that comes back to whoever asks next, before those who wait, and refuses one
who has waited for a fixed time even while all others are served. In a burst of requests the unlucky ones were refused
by a database that only had much to do. This pool refuses when nothing comes back, as from a database that stands still.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Any

from sqlalchemy.exc import TimeoutError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

MOST_SECONDS = 20.0  # that anybody waits for a connection

# SQLAlchemy names the logger after the class, so that it would log like our own modules: each pool that is closed.
logging.getLogger(f"{__name__}.FairPool").setLevel(logging.WARNING)


class FairPool(QueuePool):
    """SQLAlchemy's pool behind a queue. Its size is that of the pool; it must not overflow.

    timeout: for so many seconds nothing comes back before those who wait are refused
    Errors:  of a connect: sqlalchemy.exc.TimeoutError
    """

    def __init__(self, creator: Any, *, pool_size: int, timeout: float, **options: Any) -> None:
        super().__init__(creator, pool_size=pool_size, timeout=timeout, **options)
        self._places = Places(pool_size)
        self._stall_seconds = timeout

    def _do_get(self) -> ConnectionPoolEntry:
        if not self._places.enter(self._stall_seconds):
            raise TimeoutError(f"all {self.size()} connections are in use, and none came back in time", code="3o7r")
        try:
            return super()._do_get()
        except BaseException:
            self._places.leave()
            raise

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        try:
            super()._do_return_conn(record)
        finally:
            self._places.leave()


class Places:
    """A number of places; who waits longest gets the one that becomes free, and nobody gets it in between."""

    def __init__(self, count: int) -> None:
        self._lock = threading.RLock()  # the garbage collector may give a connection back at any point
        self._free = count
        self._waiting: deque[threading.Event] = deque()
        self._left_at = time.monotonic()  # when a place became free last

    def enter(self, stall_seconds: float, most_seconds: float = MOST_SECONDS, *, goes_first: bool = False) -> bool:
        """Take a place. False: none became free for stall_seconds, or this has waited for most_seconds.

        goes_first: before all who wait now
        """
        if self._take():
            return True
        given = threading.Event()
        with self._lock:
            if self._take():
                return True
            if goes_first:
                self._waiting.appendleft(given)
            else:
                self._waiting.append(given)
        began_at = time.monotonic()
        try:
            while True:
                stalled_at = max(began_at, self._left_at) + stall_seconds
                if given.wait(min(stalled_at, began_at + most_seconds) - time.monotonic()):
                    return True
                now = time.monotonic()
                if now >= began_at + most_seconds or now >= max(began_at, self._left_at) + stall_seconds:
                    return self._give_up(given)
        except BaseException:  # such as the end of a greenlet
            if self._give_up(given):
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._left_at = time.monotonic()
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1

    def _take(self) -> bool:
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    def _give_up(self, given: threading.Event) -> bool:
        """Wait no more. Return whether a place was given meanwhile."""
        with self._lock:
            if given.is_set():
                return True
            self._waiting.remove(given)
            return False
