"""How many bytes of bodies and messages one user may send per second to this process, over all connections together."""

from __future__ import annotations

import time
from collections.abc import Callable

BYTES_PER_SECOND = 16 << 20  # that a user may send for as long as they like
BURST_BYTES = 32 << 20  # that a user may send at once
MAX_USERS = 10_000  # that are remembered at once


class ReadRate:
    """A bucket of bytes for each user, which refills with time. Only readers of one event loop use it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at_s: dict[str, float] = {}  # user → when their bucket is full again

    def pause_after(self, user_id: str, size_bytes: int) -> float:
        """Count bytes that were read. Return for how many seconds their reader must pause; 0: it may go on."""
        now_s = self._clock()
        full_at_s = max(now_s, self._full_at_s.get(user_id, 0.0)) + size_bytes / BYTES_PER_SECOND
        if user_id not in self._full_at_s and len(self._full_at_s) >= MAX_USERS:
            self._full_at_s = {user: at_s for user, at_s in self._full_at_s.items() if at_s > now_s}
        self._full_at_s[user_id] = full_at_s
        return max(0.0, full_at_s - now_s - BURST_BYTES / BYTES_PER_SECOND)
