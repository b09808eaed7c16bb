"""Run a command where the loopback device is the only network: `python3 .ci/loopback_only.py COMMAND…`.

Root makes a network namespace; anybody else makes a user namespace first, in which the command keeps its user. Exits
with 1 and the reason where this machine allows neither: nothing is run with the network in its place.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

CLONE_NEWUSER = 0x1000_0000  # unshare(2)
CLONE_NEWNET = 0x4000_0000
SIOCSIFFLAGS = 0x8914  # netdevice(7)
IFF_UP = 0x1


def main(command: list[str]) -> None:
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER) != 0:
        sys.exit(f"cannot make a network namespace here: {os.strerror(ctypes.get_errno())}")
    if uid != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
