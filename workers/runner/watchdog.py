"""Ends commands that exceed the limits of memory and disk space that the kernel does not enforce.

Checks are cheap: a workspace is measured when its file system has grown by a good part of the limit since the last
measurement, or when that was long ago, and measuring takes at most a tenth of the time. So a command may exceed a limit
for a while unnoticed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shared.errors import ToolError
from workers.runner import memory
from workers.runner.command import Command
from workers.sandbox import files

POLL_SECONDS = 0.25
FAST_POLL_SECONDS = 0.05  # of the folders in memory; a look takes microseconds
MAX_FILES_IN_MEMORY = 131_072  # in /tmp and /dev/shm together; the kernel limits only their bytes
REST_FACTOR = 10  # the next measurement of a folder waits this many times as long as the last one took
SLACK_BYTES = 64 << 20  # growth of the file system that triggers a measurement; less for small limits
SLACK_FILES = 10_000
LONGEST_PAUSE_SECONDS = 20.0  # between two measurements, as others may free what a command fills
MAX_DEPTH = 200  # of nested folders; deeper trees cannot be measured
MAX_MEASURED = 10_000  # folders whose last measurement is remembered

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Usage:
    """The last measurement of a folder.

    bytes, files:               what was in it
    filled_bytes, filled_files: what was used of the whole file system at that time
    rested_at:                  when it may be measured again
    overdue_at:                 when it must be, even if the file system has not grown
    """

    bytes: int
    files: int
    filled_bytes: int
    filled_files: int
    rested_at: float
    overdue_at: float


class Watchdog:
    """Checks the running commands in a thread of its own. All its methods belong to the commands' thread."""

    def __init__(self) -> None:
        self._commands: set[Command] = set()
        self._has_commands = threading.Event()
        self._usage: dict[Path, _Usage] = {}
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def add(self, command: Command) -> None:
        self._commands.add(command)
        self._has_commands.set()

    def remove(self, command: Command) -> None:
        self._commands.discard(command)

    def _run(self) -> None:
        while True:
            self._has_commands.wait()
            self._has_commands.clear()
            next_measurement_s = 0.0
            while self._commands:
                time.sleep(FAST_POLL_SECONDS)
                if time.monotonic() < next_measurement_s:
                    self._check(_over_files_in_memory)
                else:
                    self._check(_over_files_in_memory, _over_memory, partial(self._over_quotas, {}))
                    next_measurement_s = time.monotonic() + POLL_SECONDS

    def _check(self, *checks: Callable[[Command], str | None]) -> None:
        """End the commands for which a check returns a reason. What fails for one command does not spare another."""
        for command in tuple(self._commands):
            try:
                for check in checks:
                    if (reason := check(command)) is not None:
                        command.kill_soon(reason)
            except Exception:
                logger.exception("check of a running command failed")

    def _over_quotas(self, reasons: dict[Path, str | None], command: Command) -> str | None:
        """Return why a command must end that writes to a folder. reasons: of the folders that were checked already."""
        policy = command.spec.policy
        if not policy.writable_roots and policy.private_tmp is None:
            return None
        for folder, max_bytes, max_files in policy.quotas:
            if folder not in reasons:
                reasons[folder] = self._over_quota(folder, max_bytes, max_files)
            if reasons[folder] is not None:
                return reasons[folder]
        return None

    def _over_quota(self, folder: Path, max_bytes: int, max_files: int) -> str | None:
        """Return why the folder's commands must end: it contains too much, and more than at the last measurement."""
        began_s = time.monotonic()
        try:
            system = os.statvfs(folder)
        except OSError:
            return None
        filled_bytes = (system.f_blocks - system.f_bfree) * system.f_frsize
        filled_files = system.f_files - system.f_ffree
        last = self._usage.get(folder)
        if last is not None:
            was_over = 0 < max_bytes < last.bytes or 0 < max_files < last.files
            grew = (
                filled_bytes - last.filled_bytes > min(SLACK_BYTES, max_bytes // 16 or SLACK_BYTES)
                or filled_files - last.filled_files > min(SLACK_FILES, max_files // 16 or SLACK_FILES)
                or system.f_files == 0  # a file system that does not count files
            )
            if began_s < last.rested_at or not (was_over or grew or began_s >= last.overdue_at):
                return None
        try:
            used_bytes, used_files = measure(folder)
        except (OSError, ToolError) as error:
            return f"its workspace, which cannot be measured ({error})"
        now_s = time.monotonic()
        if len(self._usage) >= MAX_MEASURED:
            self._usage.clear()
        rested_at = now_s + REST_FACTOR * (now_s - began_s)
        overdue_at = now_s + LONGEST_PAUSE_SECONDS
        self._usage[folder] = _Usage(used_bytes, used_files, filled_bytes, filled_files, rested_at, overdue_at)
        if 0 < max_bytes < used_bytes and (last is None or used_bytes > last.bytes):
            return f"the limit of its workspace, {max_bytes >> 20} MiB; delete something before writing more"
        if 0 < max_files < used_files and (last is None or used_files > last.files):
            return f"the limit of its workspace, {max_files} files; delete some before making more"
        return None


def _over_files_in_memory(command: Command) -> str | None:
    if memory.folders_in_memory(command.pid, _folders_in_memory(command)).files > MAX_FILES_IN_MEMORY:
        return f"the limit of {MAX_FILES_IN_MEMORY} files in its /tmp and /dev/shm"
    return None


def _folders_in_memory(command: Command) -> Sequence[str]:
    return (memory.TMP, memory.SHM) if command.spec.policy.private_tmp is None else (memory.SHM,)


def _over_memory(command: Command) -> str | None:
    """Return why a command must end whose memory the kernel does not limit."""
    limit = command.spec.limits.total_memory_bytes
    if not limit or command.group is not None:
        return None
    try:
        used = memory.measure(command.pid, limit, _folders_in_memory(command))
        return f"its memory limit of {limit >> 20} MiB" if used > limit else None
    except ToolError as error:
        return f"its memory, which cannot be measured ({error})"


def measure(folder: Path) -> tuple[int, int]:
    """Return (bytes on the disk, number of files and folders) of everything in a folder. Errors: ToolError, OSError.

    A folder that its owner may not read is made readable for him, because it could hide something.
    """
    root = files.open_path(folder)
    seen: set[int] = set()
    total_bytes = total_files = 0
    try:
        left = [(Path(), 0)]
        while left:
            relative, depth = left.pop()
            if depth > MAX_DEPTH:
                raise ToolError(f"folders are nested more than {MAX_DEPTH} deep")
            for entry, found in _entries(root, relative):
                total_files += 1
                if found.st_nlink == 1 or found.st_ino not in seen:
                    total_bytes += found.st_blocks * 512
                    seen.add(found.st_ino)
                if entry.is_dir(follow_symlinks=False):
                    left.append((relative / entry.name, depth + 1))
    finally:
        os.close(root)
    return total_bytes, total_files


def _entries(root: int, relative: Path) -> Iterator[tuple[os.DirEntry[str], os.stat_result]]:
    try:
        try:
            fd = files.open_beneath(root, relative, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            closed = files.open_beneath(root, relative, os.O_PATH | os.O_DIRECTORY)
            try:
                os.chmod(f"/proc/self/fd/{closed}", os.fstat(closed).st_mode | 0o500)
            finally:
                os.close(closed)
            fd = files.open_beneath(root, relative, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:  # it was removed meanwhile
        return
    except NotADirectoryError:  # it was replaced meanwhile
        return
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield entry, entry.stat(follow_symlinks=False)
    finally:
        os.close(fd)
