"""Protects a process from inspection by other processes of its own user."""

from __future__ import annotations

import ctypes
import sys

PR_SET_DUMPABLE = 4  # prctl(2)


def disable_inspection() -> None:
    """Deny /proc/PID/mem and environ, and ptrace, to unprivileged processes of the same user."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0)
