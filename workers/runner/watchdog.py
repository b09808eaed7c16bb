"""Ends commands that take more memory or room on the disk than they may: what the kernel does not limit for us.

A look costs little: a workspace is walked only when its file system has filled by a good part of what is allowed since
the last walk, and walks take a tenth of the time at most. So a command may get over a limit before it is noticed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ToolError
from workers.runner.command import Command, descendants
from workers.sandbox import files

POLL_SECONDS = 0.25
REST = 10  # times as long as a walk took, until the next one of that folder
SLACK_BYTES = 64 << 20  # growth of the file system that is worth a walk; less for small limits
SLACK_FILES = 10_000
MAX_DEPTH = 200  # of folders; deeper trees cannot be measured
MAX_MEASURED = 10_000  # folders that are remembered
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Usage:
    """filled_bytes, filled_files: of the whole file system at that time; rested_at: when it may be walked again"""

    bytes: int
    files: int
    filled_bytes: int
    filled_files: int
    rested_at: float


class Watchdog:
    """All methods are for the commands' thread; it looks in a thread of its own."""

    def __init__(self) -> None:
        self._commands: set[Command] = set()
        self._some = threading.Event()
        self._usage: dict[Path, _Usage] = {}
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def add(self, command: Command) -> None:
        self._commands.add(command)
        self._some.set()

    def remove(self, command: Command) -> None:
        self._commands.discard(command)

    def _run(self) -> None:
        while True:
            self._some.wait()
            self._some.clear()
            while self._commands:
                time.sleep(POLL_SECONDS)
                try:
                    self._look()
                except Exception:  # the thread must live
                    logger.exception("commands could not be watched")

    def _look(self) -> None:
        full: dict[Path, str | None] = {}
        for command in tuple(self._commands):
            limit = command.limits.total_memory_bytes
            if limit and not command.group and _memory_bytes(command.pid, limit) > limit:
                command.stop_soon(f"its memory limit of {limit >> 20} MiB")
            for folder, max_bytes, max_files in command.policy.quotas if command.policy.writable_roots else ():
                if folder not in full:
                    full[folder] = self._over(folder, max_bytes, max_files)
                if (reason := full[folder]) is not None:
                    command.stop_soon(reason)

    def _over(self, folder: Path, max_bytes: int, max_files: int) -> str | None:
        """Why its commands must end: it holds too much, and more than at the last look."""
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
                or system.f_files == 0  # a file system that does not count them
            )
            if time.monotonic() < last.rested_at or not (was_over or grew):
                return None
        began_s = time.monotonic()
        try:
            used_bytes, used_files = measure(folder)
        except (OSError, ToolError) as error:
            return f"its workspace, which cannot be measured ({error})"
        now_s = time.monotonic()
        if len(self._usage) >= MAX_MEASURED:
            self._usage.clear()
        self._usage[folder] = _Usage(
            used_bytes, used_files, filled_bytes, filled_files, now_s + REST * (now_s - began_s)
        )
        if 0 < max_bytes < used_bytes and (last is None or used_bytes > last.bytes):
            return f"the limit of its workspace, {max_bytes >> 20} MiB; delete something before you write more"
        if 0 < max_files < used_files and (last is None or used_files > last.files):
            return f"the limit of its workspace, {max_files} files; delete some before you make more"
        return None


def measure(folder: Path) -> tuple[int, int]:
    """(bytes on the disk, files and folders) of all that lies in a folder. Errors: ToolError, OSError.

    A folder that its owner has closed to himself is opened again: something could be hidden there.
    """
    root = files.open_path(folder)
    seen: set[int] = set()
    total_bytes = total_files = 0
    try:
        left = [(Path(), 0)]
        while left:
            relative, depth = left.pop()
            if depth > MAX_DEPTH:
                raise ToolError(f"folders {MAX_DEPTH} deep")
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
    except FileNotFoundError:  # gone meanwhile
        return
    except NotADirectoryError:  # and something else in its place
        return
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    yield entry, entry.stat(follow_symlinks=False)
    finally:
        os.close(fd)


def _memory_bytes(pid: int, limit: int) -> int:
    """Of a tree of processes: quickly, or exactly when it may be too much, since some of it can be shared."""
    pids = [pid, *descendants(pid)]
    quick = sum(_private_bytes(one) for one in pids)
    return quick if quick <= limit else sum(_proportional_bytes(one) for one in pids)


def _private_bytes(pid: int) -> int:
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * PAGE_BYTES


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return _private_bytes(pid)
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))
