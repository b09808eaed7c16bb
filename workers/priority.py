"""The share of a busy host's CPU that a worker takes: requests and what streams to clients go before turns."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

AUTOGROUP = Path("/proc/self/autogroup")
ATTEMPTS, ATTEMPT_SECONDS = 20, 0.1


def give_way(niceness: int) -> None:
    """Lower the priority of this process and of what it starts. Call it before threads are started.

    Linux first divides the CPU between sessions (autogroup, sched(7)): where this process leads one, as under
    `threadhouse up`, the session gives way. In a control group of its own, such as a container, weights decide instead.

    niceness: 0 to 19; a process that gives way more already stays so
    """
    if niceness <= os.getpriority(os.PRIO_PROCESS, 0):
        return
    os.setpriority(os.PRIO_PROCESS, 0, niceness)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # a kernel without autogroups, or a container that may not
            _lower_session(niceness)


def _lower_session(niceness: int) -> None:
    """Errors: OSError."""
    for _ in range(ATTEMPTS):
        with suppress(BlockingIOError):  # the kernel takes one such change in 0.1 s
            AUTOGROUP.write_text(str(niceness))
            return
        time.sleep(ATTEMPT_SECONDS)
