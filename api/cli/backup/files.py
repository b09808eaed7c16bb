"""Reads the folders that are backed up. All that is in them may be hostile, and may change meanwhile.

Every name is opened below the open folder that it is in, and no link is followed, so that nothing outside of a root is
read whatever is exchanged for what. Pipes and devices are never opened.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from api.cli.backup.manifest import FILE, FOLDER, LINK
from shared.config import Config
from shared.errors import BackupError

MAX_DEPTH = 256  # folders, each of which is open while what is in it is read
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # it was removed, or something else has its name now
SPECIAL, UNREADABLE, TOO_DEEP = "pipes, sockets and devices", "unreadable", "too deep"
SPARSE, SPARSE_BYTES, SPARSE_SHARE = "sparse files", 256 << 20, 16


def roots(config: Config) -> dict[str, Path]:
    """Return the folders of a deployment whose files are backed up, by their names in the manifest."""
    found = {"workspaces": config.server.workspaces_dir}
    sessions = config.server.sessions_dir
    if sessions is not None:
        found |= {"sessions": sessions, "archived_sessions": sessions.parent / "archived_sessions"}
    return found | {"feedback": config.feedback.directory}


@dataclass(frozen=True, slots=True)
class Found:
    """A file, folder or link. folder: the descriptor of the folder that it is in; path: below the root."""

    path: str
    kind: str
    stat: os.stat_result
    folder: int
    target: str = ""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class _Level:
    fd: int
    path: str
    names: list[str] = field(default_factory=list)


def walk(root: Path, skipped: Counter[str]) -> Iterator[Found]:
    """Yield all that is below a folder, each folder before what is in it. A missing root has nothing.

    skipped: counts what cannot be backed up
    Errors:  BackupError (the user of this process may not read what belongs to another one)
    """
    levels: list[_Level] = []
    try:
        try:
            _enter(levels, os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), "")
        except FileNotFoundError:
            return
        except OSError as error:
            raise BackupError(f"{root}: {error.strerror}: run this as the owner of this folder, or as root") from None
        while levels:
            level = levels[-1]
            if not level.names:
                os.close(levels.pop().fd)
                continue
            path = f"{level.path}{level.names.pop()}"
            found = _find(root, level.fd, path, skipped)
            if found is None:
                continue
            if found.kind != FOLDER:
                yield found
            elif len(levels) >= MAX_DEPTH:
                skipped[TOO_DEEP] += 1
            elif (fd := _open(root, found, OPEN_FOLDER, skipped)) is not None:
                _enter(levels, fd, f"{path}/")
                yield found
    finally:
        for level in levels:
            os.close(level.fd)


def _enter(levels: list[_Level], fd: int, path: str) -> None:
    levels.append(_Level(fd, path))
    levels[-1].names = sorted(os.listdir(fd), reverse=True)


def _find(root: Path, folder: int, path: str, skipped: Counter[str]) -> Found | None:
    name = path.rpartition("/")[2]
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            return Found(path, LINK, found, folder, os.readlink(name, dir_fd=folder))
    except OSError as error:
        _check(root, error, None, skipped)
        return None
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        return Found(path, FOLDER if stat.S_ISDIR(found.st_mode) else FILE, found, folder)
    skipped[SPECIAL] += 1
    return None


@contextmanager
def opened(root: Path, found: Found, skipped: Counter[str]) -> Iterator[int | None]:
    """Open a file to read it; None when it cannot be read, or is no file any more. Errors: BackupError as for walk."""
    fd = _open(root, found, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, skipped)
    try:
        yield fd if fd is not None and stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        if fd is not None:
            os.close(fd)


def is_sparse(found: os.stat_result) -> bool:
    """Return whether a file is large and almost all holes: reading it takes for ever, and a quota does not count it."""
    return found.st_size > max(SPARSE_BYTES, SPARSE_SHARE * found.st_blocks * 512)


def _open(root: Path, found: Found, flags: int, skipped: Counter[str]) -> int | None:
    try:
        return os.open(found.name, flags, dir_fd=found.folder)
    except OSError as error:
        _check(root, error, found.stat, skipped)
        return None


def _check(root: Path, error: OSError, found: os.stat_result | None, skipped: Counter[str]) -> None:
    """Count what cannot be read, because its owner closed it. Errors: BackupError (it belongs to another user)."""
    if error.errno in GONE:
        return
    if found is not None and isinstance(error, PermissionError) and found.st_uid != os.geteuid():
        raise BackupError(
            f"{root}: what is in it belongs to the user with the id {found.st_uid}: run this as that user, or as root"
        ) from None
    skipped[UNREADABLE] += 1
