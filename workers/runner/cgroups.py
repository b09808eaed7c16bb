"""A control group (v2) for each command, where the host delegates them to the runner (systemd: `Delegate=yes`).

A group with subgroups cannot have processes of its own. So all processes of the delegated group move into one subgroup,
OWN_PROCESSES; commands get subgroups beside it. Several runners may share a delegated group, as each worker of an
embedded server has its own runner, and each of these steps may be repeated.
"""

from __future__ import annotations

import errno
import itertools
import os
from contextlib import suppress
from pathlib import Path

from workers.sandbox.limits import CommandLimits

MOUNT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
OWN_PROCESSES = "threadhouse"
REQUIRED_CONTROLLERS = {"memory", "pids"}
DELEGATION_MARKS = (
    "user.delegate",
    "trusted.delegate",
)  # extended attributes that systemd sets; only root sees the second
MOVES = 20  # attempts to move all processes while they start new ones
ENTER = [
    "/bin/sh",
    "-c",
    'echo 0 >"$0/cgroup.procs" && exec "$@"',
]  # before bwrap starts, so that no process escapes the group


class NotDelegated(Exception):
    """No control groups are delegated to this process; the message says why."""


class Cgroups:
    """Makes control groups below a folder of the cgroup file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._ended: set[Path] = set()

    @classmethod
    def delegated(cls) -> Cgroups:
        """Prepare the runner's own group for subgroups. Errors: NotDelegated."""
        try:
            if not (MOUNT / "cgroup.controllers").exists():
                raise NotDelegated(f"this host has no cgroup v2 at {MOUNT}")
            name = next(line[3:] for line in MEMBERSHIP.read_text().splitlines() if line.startswith("0::"))
            folder = MOUNT / name.strip("/")
            if folder.name == OWN_PROCESSES:
                folder = folder.parent
            missing = REQUIRED_CONTROLLERS - set((folder / "cgroup.controllers").read_text().split())
            if missing:
                raise NotDelegated(f"{folder} does not control {' and '.join(sorted(missing))}")
            if not _is_delegated(folder):
                raise NotDelegated(f"{folder} is not delegated to this server")
            _make_room(folder)
        except OSError as error:
            raise NotDelegated(f"{error.filename or MOUNT}: {error.strerror}") from error
        for group in folder.glob("command-*"):  # left by runners that were killed
            if not Path("/proc", group.name.split("-")[1]).exists():
                with suppress(OSError):
                    group.rmdir()
        return cls(folder)

    def make(self, limits: CommandLimits) -> Path:
        """Make a group for one command. Errors: OSError."""
        group = self._folder / f"command-{os.getpid()}-{next(self._numbers)}"
        group.mkdir()
        (group / "memory.max").write_text(str(limits.total_memory_bytes or "max"))
        (group / "pids.max").write_text(str(limits.processes))
        with suppress(OSError):  # this file does not exist on every kernel, nor without swap
            (group / "memory.swap.max").write_text("0")
        with suppress(OSError):
            (group / "memory.oom.group").write_text("1")
        return group

    def remove(self, group: Path) -> None:
        """Remove a group whose command has ended; the next time, if a process in it is still ending."""
        self._ended.add(group)
        for each in tuple(self._ended):
            with suppress(OSError):
                each.rmdir()
                self._ended.remove(each)


def ran_out_of_memory(group: Path) -> bool:
    try:
        events = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
    except (OSError, ValueError):
        return False
    return int(events.get("oom_kill", 0)) > 0


def _is_delegated(folder: Path) -> bool:
    """Return whether a group is ours to divide. It may be writable without that: for root, or in a user's session."""
    if not (folder / "cgroup.type").exists():
        return False  # the group of the whole host
    if folder == MOUNT:
        return os.access(folder / "cgroup.procs", os.W_OK)  # the group of a container
    for mark in DELEGATION_MARKS:
        with suppress(OSError):
            if os.getxattr(folder, mark) == b"1":
                return os.access(folder / "cgroup.procs", os.W_OK)
    ours = folder.stat().st_uid == os.geteuid() != 0
    return ours and folder.parent.stat().st_uid != os.geteuid()  # an older systemd sets no mark that we may see


def _make_room(folder: Path) -> None:
    """Move all processes of a group into a subgroup, and let its subgroups have limits. Errors: OSError."""
    own = folder / OWN_PROCESSES
    own.mkdir(exist_ok=True)
    wanted = " ".join(f"+{name}" for name in sorted(REQUIRED_CONTROLLERS))
    for attempt in range(1, MOVES + 1):
        for pid in (folder / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):  # it has ended meanwhile
                (own / "cgroup.procs").write_text(pid)
        try:
            (folder / "cgroup.subtree_control").write_text(wanted)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or attempt == MOVES:
                raise
