"""Opens files of a workspace on behalf of the server, without being led out of the workspace.

The content of a workspace is untrusted: a symbolic link, a FIFO, or a folder that is swapped while it is used must not
make the server read or write elsewhere. So the kernel resolves every path beneath its root (`openat2`,
RESOLVE_BENEATH).

The tool runner, which owns the workspaces, executes all of this: the worker itself follows no path there.

In every function `root` is a trusted absolute folder without links in its path, and `relative` is a path below it (""
is the root itself). Links that stay beneath the root are followed, but never the last name of a path that is written,
moved or deleted.

Errors:  ToolError (a path that leads out of the root, not a plain file, too large, writing through a link),
         SandboxUnavailable (no `openat2`, no tool runner),
         OSError (FileNotFoundError, PermissionError, … with `relative` as filename)
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import stat as modes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from shared.errors import SandboxUnavailable, ToolError
from workers.sandbox import removal
from workers.sandbox.runner import by_runner, repeatable_by_runner

SYS_OPENAT2 = 437  # the same on every Linux architecture
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
MAX_RACES = 128  # the kernel returns EAGAIN when a rename races with "..": an attacker could cause that forever
FOLDER = os.O_PATH | os.O_DIRECTORY
REPOSITORY_PARTS = frozenset(("config", "config.worktree", "hooks", "modules", "objects", "rebase-merge", "worktrees"))

_libc = ctypes.CDLL(None, use_errno=True)
_root_fd = os.open("/", FOLDER)  # kept: almost every function here begins at it


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


@contextmanager
def pinned(folder: Path) -> Iterator[Path]:
    """Use a folder of the host as a root. It is refused when its path contains a link, whatever has replaced it since.

    Errors: OSError
    """
    stat(folder, "")
    yield folder


def open_path(path: Path) -> int:
    """Open what is at an absolute path without links, with O_PATH. Only in the runner itself. Errors: OSError."""
    name = os.fspath(path)
    if not name.startswith("/"):
        raise ValueError(f"not an absolute path: {name!r}")
    return _openat2(_root_fd, name.lstrip("/"), os.O_PATH, RESOLVE_NO_SYMLINKS)


def open_beneath(root_fd: int, relative: str | Path, flags: int) -> int:
    """Open what is below an open folder, with no link in the path. Only in the runner itself. Errors: OSError."""
    return _openat2(root_fd, relative, flags, RESOLVE_NO_SYMLINKS)


@repeatable_by_runner
def real_paths(paths: Sequence[Path]) -> list[Path]:
    """Return the paths with all links resolved, as far as they exist."""
    return [Path(os.path.realpath(path)) for path in paths]


def real_path(path: Path) -> Path:
    """Return a path with all links resolved, as far as it exists."""
    return real_paths([path])[0]


@repeatable_by_runner
def is_folder(path: Path) -> bool:
    """Return whether a path of the host is a folder, or a link to one."""
    return os.path.isdir(path)


@repeatable_by_runner
def is_in_repository(path: Path) -> bool:
    """Return whether a path of the host is where git looks for hooks and settings, or would once it is written.

    Such a path is below `.git`, or one of REPOSITORY_PARTS in a folder with HEAD and `objects` or `commondir`.
    """
    real = Path(os.path.realpath(path))
    if ".git" in real.parts or real.name in ("HEAD", "commondir"):
        return True
    for folder in real.parents:
        name = real.relative_to(folder).parts[0]
        has_objects = name == "objects" or any(os.path.lexists(folder / made) for made in ("objects", "commondir"))
        if name in REPOSITORY_PARTS and has_objects and os.path.lexists(folder / "HEAD"):
            return True
    return False


@repeatable_by_runner
def nearest(path: Path) -> Path:
    """Return the path if it exists, else its nearest parent folder that exists."""
    return next(folder for folder in (path, *path.parents) if os.path.lexists(folder))


@repeatable_by_runner
def make_private_folder(root: Path, *names: str) -> Path:
    """Return the real path of the folder of these names below root. What is missing is made, for its owner alone.

    No link below root is followed. Errors: ToolError when something else than a folder has one of the names.
    """
    root.mkdir(mode=0o700, exist_ok=True, parents=True)
    path = Path(os.path.realpath(root))
    fd = open_path(path)
    try:
        for name in names:
            path /= name
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=fd)
            try:
                below = _openat2(fd, name, FOLDER, RESOLVE_NO_SYMLINKS)
            except OSError as error:
                raise ToolError(f"not a folder of this server: {path} ({error.strerror})") from None
            os.close(fd)
            fd = below
    finally:
        os.close(fd)
    return path


@repeatable_by_runner
def read_bytes(root: Path, relative: str | Path, max_bytes: int, *, follow_links: bool = True) -> bytes:
    """Return the content of a plain file of at most max_bytes; with follow_links=False refuse a link."""
    with _opened_file(root, relative, follow_links) as fd, open(fd, "rb", closefd=False) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ToolError(f"larger than {max_bytes} bytes: {relative}")
    return data


@repeatable_by_runner
def read_nearest(root: Path, cwd: Path, names: Sequence[str], max_bytes: int) -> list[tuple[Path, bytes, int]]:
    """Return files of the folders from cwd up to its repository: their paths, their first bytes and their sizes.

    names:     of each folder the first plain file of these counts
    max_bytes: of all data together; the nearest files take what they need. A blank file has size 0.
    """
    return _read_nearest(root, cwd, names, max_bytes, every=False)


@repeatable_by_runner
def read_each_nearest(root: Path, cwd: Path, names: Sequence[str], max_bytes: int) -> list[tuple[Path, bytes, int]]:
    """Return the same as `read_nearest`, but of each folder all plain files with one of the names."""
    return _read_nearest(root, cwd, names, max_bytes, every=True)


def _read_nearest(
    root: Path, cwd: Path, names: Sequence[str], max_bytes: int, *, every: bool
) -> list[tuple[Path, bytes, int]]:
    project = repository(cwd, root) or cwd
    found: list[tuple[Path, bytes, int]] = []
    for folder in [cwd, *cwd.parents][: len(cwd.relative_to(project).parts) + 1]:
        for path in [folder / name for name in names]:
            below = path.relative_to(project)
            try:
                with _opened_file(project, below, follow_links=True) as fd, open(fd, "rb", closefd=False) as file:
                    data, size = file.read(max_bytes), os.fstat(fd).st_size
            except (OSError, ToolError):
                continue
            is_blank = len(data) == size and not data.strip()
            found.append((path, b"", 0) if is_blank else (path, data, size))
            max_bytes -= 0 if is_blank else len(data)
            if not every:
                break
    return found


@by_runner
def write_bytes(root: Path, relative: str | Path, data: bytes) -> None:
    """Make or replace a plain file atomically: readers see the old content or the new. Mode and owner are kept."""
    with _replaced(root, relative) as fd, open(fd, "wb", closefd=False) as file:
        file.write(data)


@by_runner
def copy_file(root: Path, relative: str | Path, target_root: Path, target: str | Path, max_bytes: int) -> int:
    """Copy a plain file of at most max_bytes, not a link, to a new or existing plain file. Return its size."""
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
    """Copy a link with its text, wherever that leads. Errors: FileExistsError when the target exists."""
    with _parent(root, relative) as (folder, name), _parent(target_root, target) as (target_folder, target_name):
        os.symlink(os.readlink(name, dir_fd=folder), target_name, dir_fd=target_folder)


@by_runner
def unlink(root: Path, relative: str | Path) -> None:
    """Delete a file, or a link itself. Errors: IsADirectoryError for a folder."""
    with _parent(root, relative) as (folder, name):
        os.unlink(name, dir_fd=folder)


@by_runner
def remove_folder(root: Path, relative: str | Path, *, recursive: bool) -> None:
    """Delete an empty folder, or with recursive a folder and its content. Links in it are deleted, not followed."""
    with _parent(root, relative) as (folder, name):
        if recursive:
            removal.remove_tree(folder, name)
        else:
            os.rmdir(name, dir_fd=folder)


@repeatable_by_runner
def count_files(root: Path, relative: str | Path) -> int:
    """Return the number of files and links in a folder and those below; what was closed to its owner is opened."""
    with _parent(root, relative) as (folder, name):
        return removal.count_files(folder, name)


@by_runner
def rename(root: Path, relative: str | Path, target: str | Path) -> None:
    """Move a file, link or folder to another name below the same root. A file of that name is replaced."""
    with _parent(root, relative) as (folder, name), _parent(root, target) as (target_folder, target_name):
        os.rename(name, target_name, src_dir_fd=folder, dst_dir_fd=target_folder)


@by_runner
def make_folders(root: Path, relative: str | Path) -> list[str]:
    """Make a folder and the missing ones above it. Return those that were made, outermost first."""
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


@repeatable_by_runner
def stat(root: Path, relative: str | Path, *, follow_links: bool = True) -> os.stat_result:
    """Return the status of a file, folder or link target; with follow_links=False, of a link itself."""
    with _opened(root, relative, os.O_PATH | (0 if follow_links else os.O_NOFOLLOW)) as fd:
        return os.fstat(fd)


@repeatable_by_runner
def exists(root: Path, relative: str | Path) -> bool:
    """Return whether the name exists, even as a link to nothing."""
    try:
        stat(root, relative, follow_links=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


@repeatable_by_runner
def list_folder(
    root: Path, relative: str | Path = "", max_entries: int = 10_000, *, follow_links: bool = True
) -> list[tuple[str, os.stat_result]]:
    """Return (name, status) of a folder's entries, sorted by name; the status of a link is its own.

    follow_links: False refuses a link in place of the folder
    Errors:       ToolError beyond max_entries
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


def repository(cwd: Path, root: Path) -> Path | None:
    """Return the nearest folder from cwd up to root that contains `.git`, and not just the placeholder of one."""
    try:
        return find_repository(cwd, root)
    except (ToolError, OSError):  # also of a tool runner of the version before, while a deployment is upgraded
        return None


@repeatable_by_runner
def find_repository(cwd: Path, root: Path) -> Path | None:
    """As `repository`, in one request to the runner."""
    if not cwd.is_relative_to(root):
        return None
    below = cwd.relative_to(root).parts
    try:
        root_fd = open_path(root)
    except (ToolError, OSError):
        return None
    try:
        for depth in range(len(below), -1, -1):
            git = os.path.join(*below[:depth], ".git")
            with suppress(FileNotFoundError, NotADirectoryError):
                os.close(_openat2(root_fd, git, os.O_PATH | os.O_NOFOLLOW))
                if not _is_empty(root, Path(git)):
                    return root.joinpath(*below[:depth])
    except (ToolError, OSError):
        return None
    finally:
        os.close(root_fd)
    return None


def _is_empty(root: Path, relative: Path) -> bool:
    """Return whether this is an empty folder, as workers.runner.placeholders makes."""
    try:
        return not list_folder(root, relative, follow_links=False)
    except (ToolError, OSError):
        return False


@contextmanager
def _replaced(root: Path, relative: str | Path, new_mode: int = 0o666) -> Iterator[int]:
    """Open a temporary file to write; it replaces the named file when the block succeeds.

    new_mode: its mode if the named file does not exist
    """
    with _parent(root, relative) as (folder, name):
        old = _lstat(folder, name)
        if old is not None and not modes.S_ISREG(old.st_mode):
            kind = "a symbolic link; name the file itself" if modes.S_ISLNK(old.st_mode) else "not a plain file"
            raise ToolError(f"cannot write {relative}: it is {kind}")
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
    """Open the folder that contains the last name of a path. Yield its descriptor and that name."""
    path = Path(relative)
    if path.name in ("", "..") or "\0" in path.name:
        raise ToolError(f"not a file name: {relative}")
    with _opened(root, path.parent, FOLDER) as fd:
        yield fd, path.name


def _lstat(folder: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _openat2(root_fd: int, relative: str | Path, flags: int, resolve: int = 0) -> int:
    path = os.fsencode(relative) or b"."
    if b"\0" in path:  # the kernel would see a shorter path than the caller has checked
        raise ToolError("a path cannot contain a NUL character")
    how = _OpenHow(flags | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | resolve)
    for _ in range(MAX_RACES):
        fd: int = _libc.syscall(SYS_OPENAT2, root_fd, path, ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    if code == errno.EXDEV:
        raise ToolError(f"the path leads out of its folder: {relative}")
    if code == errno.ENOSYS:
        raise SandboxUnavailable("this kernel has no openat2(2): use Linux 5.6 or newer")
    raise OSError(code, os.strerror(code), str(relative))
