"""The memory of a command, as far as /proc and its folders in memory show it.

Where the kernel does not limit a command (cgroups.py), this is what the watchdog looks at. It sees the private and the
shared memory of processes, their page tables, and what is in /tmp and /dev/shm, with what the kernel itself needs for
each file there. A file there that is also mapped counts twice. It cannot see memory that a process has shared and then
unmapped, nor the buffers of pipes and sockets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ToolError
from workers.runner.processes import descendants

MEASURE_SECONDS = 5.0  # in which the memory of a command can be measured exactly, also on a busy host
INODE_BYTES = 1280  # kernel memory for a file with a long name
PAGE_TABLES = "VmPTE:"
RESIDENT = ("RssAnon:", "RssShmem:", PAGE_TABLES)  # lines of /proc/PID/status
PROPORTIONAL = ("Pss_Anon:", "Pss_Shmem:")  # lines of /proc/PID/smaps_rollup
TMP, SHM = "/tmp", "/dev/shm"  # folders in memory that each sandbox has for itself; /tmp only without a private_tmp


@dataclass(frozen=True, slots=True)
class InMemory:
    """What is in the folders in memory of a command: bytes of files, and number of files and folders."""

    bytes: int = 0
    files: int = 0


def folders_in_memory(pid: int, folders: Sequence[str]) -> InMemory:
    """Return what is in them; nothing before the sandbox is set up. pid: of bwrap on the host."""
    used_bytes = used_files = 0
    with suppress(OSError, IndexError):
        inside = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        of_host = {_device_of(folder) for folder in ("/", TMP, SHM)}
        for folder in folders:
            with suppress(FileNotFoundError):
                # By descriptor: while bwrap sets the sandbox up, a path leads to the host's folder in one moment and to
                # the command's in the next.
                opened = os.open(f"/proc/{inside}/root{folder}", os.O_PATH | os.O_DIRECTORY)
                try:
                    system, device = os.statvfs(opened), os.fstat(opened).st_dev
                finally:
                    os.close(opened)
                if device not in of_host:
                    used_bytes += (system.f_blocks - system.f_bfree) * system.f_frsize
                    used_files += system.f_files - system.f_ffree
    return InMemory(used_bytes, used_files)


def measure(pid: int, limit: int, folders: Sequence[str]) -> int:
    """Return the memory in bytes of a process and its descendants, and of these folders in memory.

    A cheap estimate comes first. When that exceeds the limit, shared pages are divided among the processes.

    Errors: ToolError when there is too much to measure
    """
    found = folders_in_memory(pid, folders)
    in_folders = found.bytes + found.files * INODE_BYTES
    pids = [pid, *descendants(pid)]
    total = in_folders + sum(_sum_of_lines(each, "status", RESIDENT) for each in pids)
    if total <= limit:
        return total
    until_s = time.monotonic() + MEASURE_SECONDS
    total = in_folders
    for each in pids:
        if time.monotonic() > until_s:
            raise ToolError(f"{len(pids)} processes with many mappings")
        total += _exact(each)
    return total


def _exact(pid: int) -> int:
    """Return the memory of a process, with its part of what it shares; with all of that if its part is hidden."""
    proportional = _sum_of_lines(pid, "smaps_rollup", PROPORTIONAL)
    return proportional + _sum_of_lines(pid, "status", (PAGE_TABLES,) if proportional else RESIDENT)


def _device_of(folder: str) -> int | None:
    try:
        return os.stat(folder).st_dev
    except FileNotFoundError:
        return None


def _sum_of_lines(pid: int, file: str, names: tuple[str, ...]) -> int:
    """Return the bytes that lines of a file of /proc/PID name in KiB; 0 when the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(names))
