"""The log lines of requests: one each, but not more per second than a disk should take from one user."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter

LINES_PER_SECOND = 20  # of one user, in one process

logger = logging.getLogger(__name__)


class AccessLog:
    """Logs requests, and how many lines were left out."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = 0
        self._requests: Counter[str] = Counter()  # of this second, by user

    def add(self, method: str, user_id: str, status: str, duration_ms: int) -> None:
        """Log a request. method: one of the protocol; status: "ok" or the name of an error."""
        with self._lock:
            second, left_out = int(time.monotonic()), {}
            if second != self._second:
                left_out = {user: count for user, count in self._requests.items() if count > LINES_PER_SECOND}
                self._second = second
                self._requests.clear()
            self._requests[user_id] += 1
            is_logged = self._requests[user_id] <= LINES_PER_SECOND
        for user, count in left_out.items():
            logger.warning("%d requests of one second not logged", count - LINES_PER_SECOND, extra={"user_id": user})
        if is_logged:
            facts = {"method": method, "user_id": user_id, "status": status, "duration_ms": duration_ms}
            logger.info("request handled", extra=facts)
