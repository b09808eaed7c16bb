"""Waiting for a state of the world, with a deadline; the only place in the tests that polls."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_SECONDS = 20
POLL_SECONDS = 0.01


def until(condition: Callable[[], object], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Return once the condition holds; AssertionError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(POLL_SECONDS)
