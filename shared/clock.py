"""Wall-clock time in the protocol's unit. Leases use the database's clock, time-outs time.monotonic()."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000
