"""Writes files, folders and links below a folder, as a backup has them, and follows no link there.

A file gets its name when it is complete. A folder gets its mode and time at the end: before, it must be writable.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from api.cli.backup import objects
from api.cli.backup.manifest import Entry
from shared.errors import BackupError

DRAFT = ".threadhouse-restore"
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FIND_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
UNFIT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP)

Write = Callable[[BinaryIO], None]


def owner_at(path: Path) -> tuple[int, int] | None:
    """Return (uid, gid) for what root makes at a path, those of the nearest folder that exists. None: not root."""
    if os.geteuid() != 0:
        return None
    found = os.stat(next(folder for folder in (path, *path.parents) if folder.exists()))
    return found.st_uid, found.st_gid


def is_empty(root: Path) -> bool:
    """Return whether there is nothing in a folder, or no folder."""
    try:
        with os.scandir(root) as names:
            return next(names, None) is None
    except FileNotFoundError:
        return True


class Target:
    """A folder that the entries of one root are restored to. Errors of all methods: BackupError, OSError."""

    def __init__(self, root: Path) -> None:
        self._owner = owner_at(root)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if self._owner is not None:
            os.fchown(self._root, *self._owner)
        self._parent: tuple[str, int] | None = None  # the folder that was used last

    def close(self) -> None:
        self._forget_parent()
        os.close(self._root)

    def make_folder(self, entry: Entry) -> None:
        with self._within(entry) as (parent, name), suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        self._set_mode(entry, 0o700)

    def finish_folder(self, entry: Entry) -> None:
        """Give a folder its mode and time, after all that is in it."""
        self._set_mode(entry, entry.mode)
        with self._within(entry) as (parent, name):
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def has_file(self, entry: Entry) -> bool:
        """Return whether the file is there already, from an interrupted restore."""
        try:
            with self._within(entry) as (parent, name):
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if not stat.S_ISREG(found.st_mode) or (found.st_size, found.st_mtime_ns) != (
                    entry.size,
                    entry.mtime_ns,
                ):
                    return False
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except (BackupError, PermissionError):  # it is not there, or closed to its owner: it is written again
            return False
        try:
            return objects.digest(fd, lambda _: None) == entry.sha256
        finally:
            os.close(fd)

    def put_file(self, entry: Entry, write: Write) -> None:
        with self._within(entry) as (parent, name):
            with suppress(FileNotFoundError):
                os.unlink(DRAFT, dir_fd=self._root)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(DRAFT, flags, 0o600, dir_fd=self._root), "wb") as file:
                write(file)
                file.flush()
                if self._owner is not None:
                    os.fchown(file.fileno(), *self._owner)
                os.fchmod(file.fileno(), entry.mode)
                os.utime(file.fileno(), ns=(entry.mtime_ns, entry.mtime_ns))
            os.rename(DRAFT, name, src_dir_fd=self._root, dst_dir_fd=parent)

    def put_link(self, entry: Entry) -> None:
        with self._within(entry) as (parent, name):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=parent)
            os.symlink(entry.target, name, dir_fd=parent)
            if self._owner is not None:
                os.chown(name, *self._owner, dir_fd=parent, follow_symlinks=False)
            os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _set_mode(self, entry: Entry, mode: int) -> None:
        with self._within(entry) as (parent, name):
            fd = os.open(name, FIND_FOLDER, dir_fd=parent)
        try:
            if self._owner is not None:
                os.chown(f"/proc/self/fd/{fd}", *self._owner)
            os.chmod(f"/proc/self/fd/{fd}", mode)  # a descriptor that only finds a folder takes no fchmod
        finally:
            os.close(fd)

    @contextmanager
    def _within(self, entry: Entry) -> Iterator[tuple[int, str]]:
        """Give the descriptor of the folder of an entry, and the entry's name there."""
        folder, _, name = entry.path.rpartition("/")
        try:
            if self._parent is None or self._parent[0] != folder:
                self._forget_parent()
                self._parent = folder, self._open_folder(folder)
            yield self._parent[1], name
        except OSError as error:
            if error.errno in UNFIT:
                raise BackupError(
                    f"{entry.root}: the manifest is damaged, an entry is in no folder or has the name of another one "
                    f"({error.strerror}): use another backup"
                ) from None
            raise

    def _open_folder(self, path: str) -> int:
        fd = os.dup(self._root)
        for name in path.split("/") if path else ():
            try:
                inner = os.open(name, OPEN_FOLDER, dir_fd=fd)
            finally:
                os.close(fd)
            fd = inner
        return fd

    def _forget_parent(self) -> None:
        if self._parent is not None:
            os.close(self._parent[1])
            self._parent = None
