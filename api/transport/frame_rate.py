"""How fast one WebSocket may send: a bucket of frames that refills with time.

A reader whose socket always has data never waits, so nothing else would run in its process. Counting a frame therefore
also gives the other connections their turn, makes a connection that sends too fast wait, and closes one that goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from api.delivery.close_codes import TOO_MANY_FRAMES, Closed

FRAMES_PER_SECOND = 500.0  # that a connection may send for as long as it likes
BURST_FRAMES = 1000.0  # that it may send at once
YIELD_EVERY_FRAMES = 4
DELAY_SECONDS = 0.05  # of a frame over the rate: short, so that what follows is not a burst again
MAX_DELAYS = 400  # in a row, 20 s in all, until the connection is closed


class FrameRate:
    """Counts the frames of one connection. Used by its reader alone."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] | None = None
    ) -> None:
        self._clock = clock
        self._sleep = sleep or time.sleep
        self._left = BURST_FRAMES
        self._refilled_at = clock()
        self._until_yield = YIELD_EVERY_FRAMES
        self._delays = 0

    def count(self) -> None:
        """Count one frame of any kind, a dropped one too. Errors: Closed (1008), when delays do not help."""
        self._left -= 1
        self._until_yield -= 1
        if self._until_yield <= 0:
            self._until_yield = YIELD_EVERY_FRAMES
            self._refill()
            self._sleep(0)
        if self._left > 0:
            return
        self._refill()
        if self._left > 0:
            return
        self._delays += 1
        if self._delays > MAX_DELAYS:
            raise Closed(TOO_MANY_FRAMES, f"more than {FRAMES_PER_SECOND:.0f} frames a second")
        self._sleep(DELAY_SECONDS)

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(BURST_FRAMES, self._left + (now - self._refilled_at) * FRAMES_PER_SECOND)
        self._refilled_at = now
        if self._left >= BURST_FRAMES / 2:
            self._delays = 0
