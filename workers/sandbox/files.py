"""Files of a workspace, opened on behalf of the server without being led out of it.

What lies in a workspace was made by strangers: a symbolic link, a FIFO or a folder swapped in mid-way must not make it
read or write elsewhere. So every path is resolved by the kernel beneath its root (`openat2`, RESOLVE_BENEATH).

All is done by the tool runner, whose the workspaces are: the worker itself follows no path there.

In every function `root` is a trusted absolute folder without links in its path, and `relative` a path below it ("" is
the root itself). Links that stay beneath the root are followed, but never the last name of something that is written,
moved or deleted.

Errors:  ToolError (leads out of the root, not a plain file, too big, a link that would be written through),
         SandboxUnavailable (no `openat2`, no tool runner),
         OSError (FileNotFoundError, PermissionError, … with `relative` as filename)
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
import stat as modes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.errors import SandboxUnavailable, ToolError
from workers.sandbox.runner import by_runner

SYS_OPENAT2 = 437  # the same on every Linux architecture
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
MAX_RACES = 128  # the kernel says EAGAIN when a rename elsewhere raced with "..": an attacker could go on for ever
FOLDER = os.O_PATH | os.O_DIRECTORY

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


@contextmanager
def pinned(folder: Path) -> Iterator[Path]:
    """A root for a folder of the host: it is refused as soon as there is a link in its path, whatever took its place.

    Errors: OSError
    """
    stat(folder, "")
    yield folder


def open_path(path: Path) -> int:
    """A descriptor (O_PATH) of what lies at an absolute path without links, in the runner itself. Errors: OSError."""
    slash = os.open("/", FOLDER)
    try:
        return _openat2(slash, Path(path).relative_to("/"), os.O_PATH, RESOLVE_NO_SYMLINKS)
    finally:
        os.close(slash)


def open_beneath(root_fd: int, relative: Path, flags: int) -> int:
    """A descriptor of what lies below an opened folder, with no link on the way, in the runner. Errors: OSError."""
    return _openat2(root_fd, relative, flags, RESOLVE_NO_SYMLINKS)


@by_runner
def real_paths(paths: Sequence[Path]) -> list[Path]:
    """The paths with their links followed, as far as they lead anywhere."""
    return [Path(os.path.realpath(path)) for path in paths]


def real_path(path: Path) -> Path:
    """One of them."""
    return real_paths([path])[0]


@by_runner
def is_folder(path: Path) -> bool:
    """Whether a path of the host, links followed, leads to a folder."""
    return os.path.isdir(path)


@by_runner
def nearest(path: Path) -> Path:
    """The path itself where that name is taken, else the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if os.path.lexists(folder))


@by_runner
def make_private_folder(root: Path, *names: str) -> Path:
    """The folder of these names below root, made with all above it, for its owner alone, where it is not there."""
    folder = root
    folder.mkdir(mode=0o700, exist_ok=True, parents=True)
    for name in names:
        folder /= name
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@by_runner
def read_bytes(root: Path, relative: str | Path, max_bytes: int, *, follow_links: bool = True) -> bytes:
    """The content of a plain file of at most max_bytes; with follow_links=False a link itself is refused."""
    with _opened_file(root, relative, follow_links) as fd, open(fd, "rb", closefd=False) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ToolError(f"larger than {max_bytes} bytes: {relative}")
    return data


@by_runner
def write_bytes(root: Path, relative: str | Path, data: bytes) -> None:
    """Make or replace a plain file at once: readers see the old content or the new; mode and owner are kept."""
    with _replaced(root, relative) as fd, open(fd, "wb", closefd=False) as file:
        file.write(data)


@by_runner
def copy_file(root: Path, relative: str | Path, target_root: Path, target: str | Path, max_bytes: int) -> int:
    """Make or replace a plain file as the copy of another of at most max_bytes, no link; how many it has."""
    with _opened_file(root, relative, follow_links=False) as fd:
        size = os.fstat(fd).st_size
        if size > max_bytes:
            raise ToolError(f"larger than {max_bytes} bytes: {relative}")
        with _replaced(target_root, target, new_mode=os.fstat(fd).st_mode & 0o777) as target_fd:
            offset = 0
            while offset < size and (sent := os.sendfile(target_fd, fd, offset, size - offset)):
                offset += sent
    return size


@by_runner
def copy_link(root: Path, relative: str | Path, target_root: Path, target: str | Path) -> None:
    """Make a link that says what another one says, wherever that leads; FileExistsError when the name is taken."""
    with _parent(root, relative) as (folder, name), _parent(target_root, target) as (target_folder, target_name):
        os.symlink(os.readlink(name, dir_fd=folder), target_name, dir_fd=target_folder)


@by_runner
def unlink(root: Path, relative: str | Path) -> None:
    """Delete a file or a link itself; IsADirectoryError for a folder."""
    with _parent(root, relative) as (folder, name):
        os.unlink(name, dir_fd=folder)


@by_runner
def remove_folder(root: Path, relative: str | Path, *, recursive: bool) -> None:
    """Delete a folder, an empty one or all of it; links in it are deleted and not followed."""
    with _parent(root, relative) as (folder, name):
        if recursive:
            shutil.rmtree(name, dir_fd=folder)
        else:
            os.rmdir(name, dir_fd=folder)


@by_runner
def rename(root: Path, relative: str | Path, target: str | Path) -> None:
    """Move a file, link or folder to another name below the same root; a file in its place is replaced."""
    with _parent(root, relative) as (folder, name), _parent(root, target) as (target_folder, target_name):
        os.rename(name, target_name, src_dir_fd=folder, dst_dir_fd=target_folder)


@by_runner
def make_folders(root: Path, relative: str | Path) -> list[str]:
    """Make a folder and those above it that are missing; those that were made, outermost first."""
    made = []
    parts = Path(relative).parts
    for depth in range(1, len(parts) + 1):
        path = Path(*parts[:depth])
        with _parent(root, path) as (folder, name):
            try:
                os.mkdir(name, dir_fd=folder)
                made.append(str(path))
            except FileExistsError:
                if not modes.S_ISDIR(stat(root, path).st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    return made


@by_runner
def stat(root: Path, relative: str | Path, *, follow_links: bool = True) -> os.stat_result:
    """What lies there; with follow_links=False a link itself."""
    with _opened(root, relative, os.O_PATH | (0 if follow_links else os.O_NOFOLLOW)) as fd:
        return os.fstat(fd)


@by_runner
def exists(root: Path, relative: str | Path) -> bool:
    """Whether that name is taken, be it by a link that leads nowhere."""
    try:
        stat(root, relative, follow_links=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@by_runner
def list_folder(
    root: Path, relative: str | Path = "", max_entries: int = 10_000, *, follow_links: bool = True
) -> list[tuple[str, os.stat_result]]:
    """(name, what lies there, links themselves) of a folder's entries, by name; ToolError beyond max_entries.

    follow_links: False refuses a link in the folder's place
    """
    entries: list[tuple[str, os.stat_result]] = []
    flags = os.O_RDONLY | os.O_DIRECTORY | (0 if follow_links else os.O_NOFOLLOW)
    with _opened(root, relative, flags) as fd, os.scandir(fd) as scan:
        for entry in scan:
            if len(entries) == max_entries:
                raise ToolError(f"more than {max_entries} entries: {relative}")
            with suppress(FileNotFoundError):
                entries.append((entry.name, entry.stat(follow_symlinks=False)))
    return sorted(entries, key=lambda named: named[0])


@contextmanager
def _replaced(root: Path, relative: str | Path, new_mode: int = 0o666) -> Iterator[int]:
    """A file to write that takes the place of another when all went well. new_mode: if there is no other."""
    with _parent(root, relative) as (folder, name):
        old = _lstat(folder, name)
        if old is not None and not modes.S_ISREG(old.st_mode):
            kind = "a symbolic link, name the file itself" if modes.S_ISLNK(old.st_mode) else "not a plain file"
            raise ToolError(f"cannot be written, it is {kind}: {relative}")
        temporary = f".{secrets.token_hex(8)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        fd = os.open(temporary, flags, new_mode if old is None else old.st_mode & 0o700, dir_fd=folder)
        try:
            try:
                yield fd
                if old is not None:
                    with suppress(PermissionError):
                        os.fchown(fd, old.st_uid, old.st_gid)
                    os.fchmod(fd, old.st_mode & 0o777)
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise


@contextmanager
def _opened(root: Path, relative: str | Path, flags: int) -> Iterator[int]:
    root_fd = open_path(root)
    try:
        fd = _openat2(root_fd, relative, flags)
    finally:
        os.close(root_fd)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _opened_file(root: Path, relative: str | Path, follow_links: bool) -> Iterator[int]:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow_links else os.O_NOFOLLOW)
    with _opened(root, relative, flags) as fd:
        if not modes.S_ISREG(os.fstat(fd).st_mode):
            raise ToolError(f"not a plain file: {relative}")
        yield fd


@contextmanager
def _parent(root: Path, relative: str | Path) -> Iterator[tuple[int, str]]:
    """The opened folder that holds the last name of a path, and that name."""
    path = Path(relative)
    if path.name in ("", "..") or "\0" in path.name:
        raise ToolError(f"names no file: {relative}")
    with _opened(root, path.parent, FOLDER) as fd:
        yield fd, path.name


def _lstat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _openat2(root_fd: int, relative: str | Path, flags: int, resolve: int = 0) -> int:
    path = os.fsencode(relative) or b"."
    if b"\0" in path:  # the kernel would see a shorter path than the one that was checked
        raise ToolError("a path cannot hold a NUL")
    how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve)
    for _ in range(MAX_RACES):
        fd: int = _libc.syscall(SYS_OPENAT2, root_fd, path, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    if code == errno.EXDEV:
        raise ToolError(f"leads out of its folder: {relative}")
    if code == errno.ENOSYS:
        raise SandboxUnavailable("this kernel has no openat2(2); Linux 5.6 or newer is needed")
    raise OSError(code, os.strerror(code), str(relative))
