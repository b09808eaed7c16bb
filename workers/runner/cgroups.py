"""A control group (v2) for each command, where the host lets the runner make some: `Delegate=yes` of a systemd unit."""

from __future__ import annotations

import itertools
import logging
import os
from contextlib import suppress
from pathlib import Path

from workers.sandbox.limits import CommandLimits

MOUNT = Path("/sys/fs/cgroup")
WANTED = {"memory", "pids"}
ENTER = ["/bin/sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"']  # before bwrap is there, so that nothing escapes

logger = logging.getLogger(__name__)


class Cgroups:
    """Those below a folder of the cgroup file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)

    @classmethod
    def delegated(cls, mount: Path = MOUNT, own: Path = Path("/proc/self/cgroup")) -> Cgroups | None:
        """The runner's own, made ready; None where it is not for us to divide.

        Its processes move into one below, since a group that is divided can hold none.
        """
        try:
            name = next(line[3:] for line in own.read_text().splitlines() if line.startswith("0::"))
            folder = mount / name.strip("/")
            if not set((folder / "cgroup.controllers").read_text().split()) >= WANTED:
                return None
            (folder / "runner").mkdir(exist_ok=True)
            for pid in (folder / "cgroup.procs").read_text().split():
                (folder / "runner" / "cgroup.procs").write_text(pid)
            (folder / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(WANTED)))
        except (OSError, StopIteration) as error:
            logger.info("no cgroups of our own (%s): memory is watched instead", error)
            return None
        return cls(folder)

    def make(self, limits: CommandLimits) -> Path:
        """One for a command. Errors: OSError."""
        group = self._folder / f"command-{os.getpid()}-{next(self._numbers)}"
        group.mkdir()
        (group / "memory.max").write_text(str(limits.total_memory_bytes or "max"))
        (group / "pids.max").write_text(str(limits.processes))
        with suppress(OSError):  # not on every kernel, or without swap
            (group / "memory.swap.max").write_text("0")
        with suppress(OSError):
            (group / "memory.oom.group").write_text("1")
        return group


def ran_out_of_memory(group: Path) -> bool:
    try:
        events = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
    except (OSError, ValueError):
        return False
    return int(events.get("oom_kill", 0)) > 0


def remove(group: Path) -> None:
    """After the last process of it has ended."""
    with suppress(OSError):
        group.rmdir()
