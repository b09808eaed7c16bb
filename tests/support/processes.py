"""The processes of this host."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.support.wait import until


def is_running(word: str) -> bool:
    """Return whether a process has the word in its command line."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in file.read_bytes():
                return True
        except OSError:
            continue
    return False


def pause(pid: int) -> None:
    """Send SIGSTOP, and wait until it has taken effect: until then the process's threads go on."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: is_paused(pid))


def is_paused(pid: int) -> bool:
    """Return whether a SIGSTOP has taken effect in all threads of a process."""
    states = set()
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # a thread that has ended
            states.add(file.read_text().rpartition(")")[2].split()[0])
    return states == {"T"}
