"""What a process does so that others of its own user cannot look into it."""

from __future__ import annotations

import ctypes
import sys

PR_SET_DUMPABLE = 4  # prctl(2)


def forbid_looking() -> None:
    """Close /proc/PID/mem and environ, and ptrace, to processes of the same user that are not privileged."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)
