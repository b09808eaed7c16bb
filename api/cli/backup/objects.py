"""The contents of files in a backup: `objects/ab/cdef…`, named by their SHA-256. An object never changes.

Equal files are one object, and each of them was complete before it got its name.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from api.cli.backup.manifest import DIGEST
from shared.errors import BackupError

CHUNK_BYTES = 1 << 20
ZEROS = bytes(CHUNK_BYTES)
PREFIX = re.compile(r"[0-9a-f]{2}")  # the name of a folder of objects

Progress = Callable[[int], None]  # called with the number of bytes that were read


class Objects:
    """The objects of one backup."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "objects"
        self._draft = folder / "object.draft"

    def path(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / sha256[2:]

    def has(self, sha256: str, size: int) -> bool:
        """Return whether there is such an object of this size. Its content is not read."""
        try:
            found = os.lstat(self.path(sha256))
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size == size

    def add(self, source: int, max_bytes: int, progress: Progress) -> tuple[str, int, bool]:
        """Copy what an open file has, up to a size. Return (SHA-256, size, whether the object is new)."""
        with open(os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as draft:
            sha256, size = copy(source, draft, max_bytes, progress)
        is_new = not self.has(sha256, size)
        if is_new:
            path = self.path(sha256)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.replace(self._draft, path)
        return sha256, size, is_new

    def open(self, sha256: str, size: int) -> int:
        """Return a descriptor that reads an object. Errors: BackupError (missing, or of another size)."""
        path = self.path(sha256)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise BackupError(
                f"{path}: {error.strerror}: use another backup, or run `threadhouse backup` again"
            ) from None
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            os.close(fd)
            raise damaged(path)
        return fd

    def check(self, sha256: str, size: int, progress: Progress) -> None:
        """Read an object and compare it with its name. Errors: BackupError."""
        fd = self.open(sha256, size)
        try:
            if digest(fd, progress) != sha256:
                raise damaged(self.path(sha256))
        finally:
            os.close(fd)

    def copy_to(self, sha256: str, size: int, target: BinaryIO, progress: Progress) -> None:
        """Write the content of an object to a file, and compare it with its name. Errors: BackupError."""
        fd = self.open(sha256, size)
        try:
            if copy(fd, target, size, progress) != (sha256, size):
                raise damaged(self.path(sha256))
        finally:
            os.close(fd)

    def collect(self, used: set[bytes]) -> None:
        """Remove all objects but these (SHA-256 as bytes). Foreign files, such as those of NFS, stay."""
        self._draft.unlink(missing_ok=True)
        for folder in self.folder.iterdir():
            if PREFIX.fullmatch(folder.name) is None:
                continue
            for path in folder.iterdir():
                name = folder.name + path.name
                if DIGEST.fullmatch(name) is not None and bytes.fromhex(name) not in used:
                    path.unlink()
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def damaged(path: Path) -> BackupError:
    return BackupError(
        f"{path} is damaged: use another backup; or, while the server still has the file, remove this one and run "
        "`threadhouse backup` again"
    )


def copy(source: int, target: BinaryIO, max_bytes: int, progress: Progress) -> tuple[str, int]:
    """Copy up to so many bytes from an open file. Return (SHA-256, size). Long runs of zeros become holes."""
    found, size = hashlib.sha256(), 0
    while chunk := os.read(source, min(CHUNK_BYTES, max_bytes - size)):
        found.update(chunk)
        size += len(chunk)
        if chunk == ZEROS:
            target.seek(len(chunk), os.SEEK_CUR)
        else:
            target.write(chunk)
        progress(len(chunk))
    target.truncate(size)
    return found.hexdigest(), size


def digest(source: int, progress: Progress) -> str:
    """Return the SHA-256 of the rest of an open file."""
    found = hashlib.sha256()
    while chunk := os.read(source, CHUNK_BYTES):
        found.update(chunk)
        progress(len(chunk))
    return found.hexdigest()
