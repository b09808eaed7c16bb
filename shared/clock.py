"""Wall-clock time in the protocol's unit. Leases use the database's clock, time-outs time.monotonic()."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the time in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def span(ms: int) -> str:
    """Return a time for people: 4 s, 3 min, 2 h, 5 d."""
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= 2 * unit_ms:
            return f"{ms // unit_ms} {unit}"
    return f"{max(0, ms) // 1000} s"
