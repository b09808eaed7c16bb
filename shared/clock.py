"""Wall-clock time as the protocol wants it. Leases use the database's clock, time-outs time.monotonic()."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000
