"""Become another program that the kernel kills when its parent is gone: `python -IS child.py PARENT_PID PROGRAM ARG…`.

The supervisor starts every process through this file, so that not even kill -9 of the supervisor leaves one behind.
A program of its own, because the death signal belongs to the process that asks for it and survives exec; run by its
path and without site-packages, because it must cost nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2), Linux only


def die_with(parent_pid: int) -> None:
    """Have this process killed when its parent ends; exit now if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
