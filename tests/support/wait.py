"""Wait for a condition, with a deadline. This is the only module of the tests that polls."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_SECONDS = 60  # a busy machine must not fail a test
POLL_SECONDS = 0.01


def until(condition: Callable[[], object], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Return once the condition holds. Errors: AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(POLL_SECONDS)
