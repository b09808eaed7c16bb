"""Takes out of the git repositories that a command made or changed what git would run: hooks, and most settings.

This is for the folders of a local user, whose own git looks into them and is in no sandbox. The `.git` of the folder
that a command works in cannot be written at all (policy.protected). Others can be anywhere below, and the command needs
them: for a clone, or a repository that a test makes. So all repositories are recorded before a command begins, and what
is new or different when it has ended is cleaned, before its end is reported. Nothing here runs git.

A repository is what git would take for one: a folder with HEAD and `objects` (`.git`, or a bare repository of any
name), or with HEAD and `commondir` (a worktree, whose settings are in another folder). A `.git` that is a new link is
removed, because what it leads to can be exchanged; one that is a file leads to a folder that is cleaned by itself.
"""

from __future__ import annotations

import logging
import os
import stat as modes
import time
from collections import deque
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from shared.errors import ToolError
from workers.runner import git_settings
from workers.sandbox import files
from workers.sandbox.policy import Access, SandboxPolicy

MAX_FOLDERS = 50_000  # that are searched, outermost first: about a second the first time, then a quarter
MAX_CONFIG_BYTES = 1 << 20
MAX_REPORTED = 10
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
PLAIN_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
CONFIGS = ("config", "config.worktree")
PARTS = frozenset(("HEAD", "objects", "commondir", ".git"))
RECENT_NS = 1_000_000_000  # a folder that changed so recently can change again without another ctime
TODO = "rebase-merge/git-rebase-todo"  # of a rebase that goes on: its `exec` lines are commands
WHY = "git outside of the sandbox would run what they name"

logger = logging.getLogger(__name__)

_names_by_folder: dict[tuple[int, int, int], dict[str, bool]] = {}  # by device, inode and ctime


class Identity(NamedTuple):
    """What differs when a file was written or exchanged. target: of a link to settings, the same of these."""

    device: int
    inode: int
    mode: int
    changed_at_ns: int
    target: Identity | None = None


@dataclass(frozen=True)
class Repository:
    """What git would run of a repository.

    entries: identity of each file, by its path in the repository's folder
    configs: content of its CONFIGS
    """

    entries: dict[str, Identity] = field(default_factory=dict)
    configs: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """The repositories below the folders that a command may write.

    repositories: by their absolute path
    links:        identity of each `.git` that is no folder, by its path
    closed:       identities of the folders that cannot be listed
    complete:     whether all folders were searched
    """

    repositories: dict[Path, Repository]
    links: dict[Path, Identity]
    closed: set[Identity]
    complete: bool


def is_watched(policy: SandboxPolicy) -> bool:
    """Return whether a command could make repositories where a local user's own git looks."""
    return bool(policy.protected and policy.writable_roots)


def find(policy: SandboxPolicy) -> Found:
    """Return what is there before a command begins."""
    found = Found({}, {}, set(), complete=True)
    search = _Search(policy)
    for root, root_fd, relative, names in search:
        if _is_repository(names):
            for path in _with_common(root_fd, relative):
                with suppress(OSError, ToolError), _opened(root_fd, path) as fd:
                    found.repositories[root / path] = _read(fd)
        if _is_file(names, ".git"):
            with suppress(OSError, ToolError), _opened(root_fd, relative) as fd:
                found.links[root / relative / ".git"] = _identity(fd, ".git")
    return Found(found.repositories, found.links, search.closed, search.complete)


def clean(policy: SandboxPolicy, before: Found) -> list[str]:
    """Take out what git would run and was not there before. Return a sentence for each repository that had any."""
    said = []
    search = _Search(policy, closed_before=before.closed)
    for root, root_fd, relative, names in search:
        if _is_repository(names):
            for path in _with_common(root_fd, relative):
                with suppress(OSError, ToolError), _opened(root_fd, path) as fd:
                    if removed := _clean(fd, before.repositories.get(root / path, Repository())):
                        said.append(f"removed from the repository {root / path}: {', '.join(removed)}; {WHY}")
        if _is_file(names, ".git"):
            with suppress(OSError, ToolError), _opened(root_fd, relative) as fd:
                found = _identity(fd, ".git")
                if modes.S_ISLNK(found.mode) and found != before.links.get(root / relative / ".git"):
                    _let_owner_write(fd, "")
                    os.unlink(".git", dir_fd=fd)
                    said.append(f"removed {root / relative / '.git'}: a link in its place is not allowed")
    if before.complete and not search.complete:
        said.append(f"there are more than {MAX_FOLDERS} folders, so not all were searched for git repositories")
    if len(said) > MAX_REPORTED:
        said[MAX_REPORTED:] = [f"and {len(said) - MAX_REPORTED} more"]
    return said


class _Search:
    """Yields (root, its descriptor, path below it, {name: whether it is a folder}) of each folder that may be written.

    Outermost first; of the names only those of folders and of PARTS.

    complete: whether there were at most MAX_FOLDERS; known at the end
    closed:   identities of the folders that could not be listed
    """

    def __init__(self, policy: SandboxPolicy, *, closed_before: Set[Identity] | None = None) -> None:
        """closed_before: open all closed folders but these, because git needs no list to use what is in a folder."""
        self.complete = True
        self.closed: set[Identity] = set()
        self._closed_before = closed_before
        self._roots = policy.writable_roots
        self._skipped = {path for path, access in policy.rules().items() if access is not Access.WRITE}

    def __iter__(self) -> Iterator[tuple[Path, int, str, dict[str, bool]]]:
        left = MAX_FOLDERS
        for root in self._roots:
            try:
                root_fd = files.open_path(root)
            except (OSError, ToolError):
                continue
            try:
                queue = deque([""])
                skipped = {str(path.relative_to(root)) for path in self._skipped if path.is_relative_to(root)}
                while queue:
                    if left == 0:
                        self.complete = False
                        return
                    left -= 1
                    relative = queue.popleft()
                    names = self._names(root_fd, relative)
                    yield root, root_fd, relative, names
                    below = [os.path.join(relative, name) for name, is_folder in names.items() if is_folder]
                    queue += [path for path in below if path not in skipped]
            finally:
                os.close(root_fd)

    def _names(self, root_fd: int, relative: str) -> dict[str, bool]:
        try:
            found = os.stat(relative or ".", dir_fd=root_fd, follow_symlinks=False)
            key = (found.st_dev, found.st_ino, found.st_ctime_ns)
            if (known := _names_by_folder.get(key)) is not None:  # it is the same folder, wherever the path leads now
                return known
            if _is_closed(found):
                self.closed.add(_from_stat(found))
                if self._closed_before is not None and _from_stat(found) not in self._closed_before:
                    _let_owner_write(root_fd, relative)
            with _opened(root_fd, relative) as fd, os.scandir(fd) as entries:
                found = os.fstat(fd)
                each = ((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
                names = {name: is_folder for name, is_folder in each if is_folder or name in PARTS}
        except (OSError, ToolError):
            return {}
        if time.time_ns() - found.st_ctime_ns > RECENT_NS:
            if len(_names_by_folder) >= MAX_FOLDERS:
                _names_by_folder.clear()
            _names_by_folder[found.st_dev, found.st_ino, found.st_ctime_ns] = names
        return names


def _is_closed(found: os.stat_result) -> bool:
    """Return whether the owner of a folder cannot list it."""
    return modes.S_ISDIR(found.st_mode) and found.st_mode & 0o500 != 0o500


def _let_owner_write(root_fd: int, relative: str) -> None:
    """Let the owner of a folder list, write and enter it. Errors: OSError."""
    fd = files.open_beneath(root_fd, relative, os.O_PATH | os.O_DIRECTORY)
    try:
        mode = os.fstat(fd).st_mode & 0o7777
        if mode & modes.S_IRWXU != modes.S_IRWXU:
            os.chmod(f"/proc/self/fd/{fd}", mode | modes.S_IRWXU)
    finally:
        os.close(fd)


def _is_repository(names: dict[str, bool]) -> bool:
    return "HEAD" in names and ("objects" in names or "commondir" in names)


def _is_file(names: dict[str, bool], name: str) -> bool:
    return names.get(name) is False


@contextmanager
def _opened(root_fd: int, relative: str) -> Iterator[int]:
    fd = files.open_beneath(root_fd, relative, FOLDER)
    try:
        yield fd
    finally:
        os.close(fd)


def _with_common(root_fd: int, relative: str) -> Sequence[str]:
    """Return the path of a repository, and of the folder with its settings, which git makes two levels above."""
    paths = [relative]
    with suppress(OSError, ToolError), _opened(root_fd, relative) as fd:
        if _content(fd, "commondir").strip() == b"../.." and relative.count("/") >= 1:
            paths.append(os.path.dirname(os.path.dirname(relative)))
    return paths


def _read(fd: int) -> Repository:
    entries = {name: _identity(fd, name) for name in _watched(fd)}
    return Repository(entries, {name: _content(fd, name) for name in CONFIGS})


def _watched(fd: int, *, opens_up: bool = False) -> list[str]:
    """Return the paths of what git would run, or read commands from, in the open folder of a repository."""
    found = []
    for name in (*CONFIGS, "commondir", TODO):
        with suppress(OSError):
            os.stat(name, dir_fd=fd, follow_symlinks=False)
            found.append(name)
    try:
        if opens_up and _is_closed(os.stat("hooks", dir_fd=fd, follow_symlinks=False)):
            _let_owner_write(fd, "hooks")
        hooks = os.open("hooks", FOLDER, dir_fd=fd)
    except FileNotFoundError:
        return found
    except OSError:  # a link or a file
        return [*found, "hooks"]
    try:
        return [*found, *(f"hooks/{name}" for name in os.listdir(hooks) if not name.endswith(".sample"))]
    finally:
        os.close(hooks)


def _identity(fd: int, name: str) -> Identity:
    """Return the identity of a file in an open folder; that of a link is its own. Errors: OSError."""
    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    target = None
    if modes.S_ISLNK(found.st_mode) and name in CONFIGS:
        with suppress(OSError):
            target = _from_stat(os.stat(name, dir_fd=fd))
    return _from_stat(found, target)


def _from_stat(found: os.stat_result, target: Identity | None = None) -> Identity:
    return Identity(found.st_dev, found.st_ino, found.st_mode, found.st_ctime_ns, target)


def _clean(fd: int, before: Repository) -> list[str]:
    """Clean the open folder of a repository. Return what was removed."""
    removed = []
    for name in _watched(fd, opens_up=True):
        try:
            if _identity(fd, name) == before.entries.get(name):
                continue
            if name in CONFIGS:
                removed += _clean_config(fd, name, before.configs.get(name, b""))
                continue
            content = _content(fd, name).strip()
            if (name == "commondir" and content == b"../..") or (name == TODO and not git_settings.runs(content)):
                continue
            _let_owner_write(fd, os.path.dirname(name))
            os.unlink(name, dir_fd=fd)
            removed.append(name)
        except (FileNotFoundError, IsADirectoryError):  # git runs no folder
            continue
        except OSError as error:
            logger.warning("not removed from a repository: %s: %s", name, error)
            removed.append(f"NOT {name} ({error.strerror})")
    return removed


def _clean_config(fd: int, name: str, before: bytes) -> list[str]:
    """Leave in a configuration file what is harmless or was there before. Return the settings that were removed."""
    _let_owner_write(fd, "")
    if not modes.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=fd)
        return [name]
    content = _content(fd, name)
    kept, removed = git_settings.harmless(content, before)
    if kept != content:
        temporary = f"{name}.{os.getpid()}.lock"
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=fd)
        out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=fd)
        with open(out, "wb") as file:
            file.write(kept)
        os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
    return removed


def _content(fd: int, name: str) -> bytes:
    """Return what is in a plain file; b"" for everything else."""
    try:
        opened = os.open(name, PLAIN_FILE, dir_fd=fd)
    except OSError:
        return b""
    with open(opened, "rb") as file:
        if not modes.S_ISREG(os.fstat(opened).st_mode):
            return b""
        return file.read(MAX_CONFIG_BYTES)
