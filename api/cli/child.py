"""Become another program, which the kernel kills when its parent ends: `python -IS child.py PARENT_PID PROGRAM ARG…`.

The supervisor starts every process through this file, so that even kill -9 of the supervisor leaves no process behind.
It is a program of its own because the death signal belongs to the process that requests it and survives exec. It runs
by its path and without site-packages, so that starting it takes no noticeable time.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2), Linux only


def die_with(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends; exit now if the parent has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
