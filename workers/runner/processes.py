"""The processes of sandboxes, as /proc shows them."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass
class InnerProcess:
    """The first process of a sandbox; all others end with it.

    namespace: inode of its process namespace, by which a later process with the same pid is recognized
    fd:        its pidfd
    """

    pid: int
    namespace: int
    fd: int

    @classmethod
    def find(cls, info: bytes) -> InnerProcess | None:
        """Return the process that bwrap's --info-fd names; None when it has ended already."""
        try:
            parsed = json.loads(info)
            pid, namespace = parsed["child-pid"], parsed["pid-namespace"]
            found = cls(pid, namespace, os.pidfd_open(pid))
        except (ValueError, KeyError, OSError):
            return None
        if found.is_running():
            return found
        os.close(found.fd)
        return None

    def is_running(self) -> bool:
        """Return whether the pid still belongs to this process and not to a later one."""
        try:
            return os.stat(f"/proc/{self.pid}/ns/pid").st_ino == self.namespace
        except OSError:
            return False


def descendants(pid: int) -> list[int]:
    """Return the pids of all processes that descend from a process."""
    pids = [pid]
    for parent in pids:  # grows as it goes
        with suppress(OSError):  # it has ended
            for thread in os.listdir(f"/proc/{parent}/task"):
                with suppress(OSError):
                    pids += map(int, Path(f"/proc/{parent}/task/{thread}/children").read_text().split())
    return pids[1:]


def kill_orphaned_sandboxes() -> None:
    """Kill each bwrap whose runner was killed while it set up its sandbox: it waits forever and runs nothing."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            program, *options = (folder / "cmdline").read_bytes().split(b"\0")
            if Path(os.fsdecode(program)).name == "bwrap" and options[:1] == [b"--info-fd"]:
                outer = os.getsid(int(folder.name))  # each outer bwrap is the leader of its session
                if not Path(f"/proc/{outer}").exists():
                    os.kill(int(folder.name), signal.SIGKILL)
