"""Finds and places skills: folders with a SKILL.md. The tool runner executes this, as it does workers.sandbox.files.

A repository and an upload may be hostile, so everything here has a limit: how deep and how many folders are looked at,
how many skills count, and how much of each file is read.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import secrets
import shutil
import stat as modes
import tarfile
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from shared.errors import ToolError
from workers.sandbox import files
from workers.sandbox.runner import by_runner, repeatable_by_runner

FILE = "SKILL.md"
INTERFACE_FILE = "agents/openai.yaml"
CODEX, AGENTS = ".codex/skills", ".agents/skills"  # in each folder of a project
MAX_DEPTH = 6  # of a skill below its root
MAX_FOLDERS = 2000  # that are looked at for one thread
MAX_ENTRIES = 1000  # of one folder
MAX_SKILLS = 200
MAX_FILE_BYTES = 256 * 1024  # of one SKILL.md
HEAD_BYTES = 16 * 1024  # of it that the front matter must be in
INTERFACE_BYTES = 16 * 1024
UNFINISHED = ".new-"  # a skill that is being unpacked
UNFINISHED_SECONDS = 3600.0
RENAME_EXCHANGE = 2  # of renameat2(2)

_libc = ctypes.CDLL(None, use_errno=True)


class SkillRoot(TypedDict):
    """A folder with skills.

    scope: "repo", "user" or "admin"
    path:  absolute
    base:  a trusted folder above it, or itself, that no link leads out of; None: the folder belongs to the user's own
           computer or to the operator, and links to other folders are followed from it
    """

    scope: str
    path: Path
    base: Path | None


class FoundSkill(TypedDict):
    """A SKILL.md that was found.

    scope:     as of its root
    root:      the folder of skills that it was found in, as it was named
    base:      a folder without links above it, to open it from
    path:      its absolute path
    head:      the beginning of its text
    interface: the whole agents/openai.yaml beside it; empty without one
    """

    scope: str
    root: Path
    base: Path
    path: Path
    head: bytes
    interface: bytes


class FoundSkills(TypedDict):
    """What was found, in the order of the roots, and then of the paths. errors: (path, why it is left out)"""

    skills: list[FoundSkill]
    errors: list[tuple[Path, str]]


@repeatable_by_runner
def read_project(
    root: Path, cwd: Path, names: Sequence[str], max_bytes: int, roots: Sequence[SkillRoot], hidden: Sequence[Path]
) -> tuple[list[tuple[Path, bytes, int]], FoundSkills]:
    """Return what files.read_nearest and find_skills return, in one request to the runner."""
    project = files.repository(cwd, root) or cwd  # so that what lies above it is looked at once
    nearest = files.read_nearest(project, cwd, names, max_bytes) if names else []
    return nearest, find_skills(project, cwd, roots, hidden)


@repeatable_by_runner
def find_skills(root: Path, cwd: Path | None, roots: Sequence[SkillRoot], hidden: Sequence[Path]) -> FoundSkills:
    """Return the skills of the project around cwd, and those below more roots.

    root:   nothing of the project above this folder is looked at
    cwd:    None: there is no project
    hidden: folders that no link is followed to, real paths
    """
    search = _Search(hidden)
    project = (files.repository(cwd, root) or cwd) if cwd is not None else None
    for each in (*_of_project(project, cwd, CODEX), *roots, *_of_project(project, cwd, AGENTS)):
        search.run(each)
    return {"skills": search.skills, "errors": search.errors}


@by_runner
def place_skill(own: Path, name: str, packed: bytes, prefix: str) -> None:
    """Make or replace the skill `own`/name from a tar that workers.sources.archive has written, without links.

    own:    the folder of a user's skills; it is made when it is missing
    prefix: the folder in the tar that becomes the skill; "" is the whole tar
    Errors: ToolError, OSError
    """
    folder = files.make_private_folder(own.parent, own.name)
    _remove_unfinished(folder)
    made = files.make_private_folder(folder, f"{UNFINISHED}{secrets.token_hex(8)}")
    try:
        _unpack(made, packed, prefix)
        if _exchange(folder, made.name, name):  # the skill of that name is there at any time, the old one or the new
            with suppress(OSError, ToolError):
                files.remove_folder(folder, made.name, recursive=True)
        else:
            files.rename(folder, made.name, name)
    except BaseException:
        with suppress(OSError, ToolError):
            files.remove_folder(folder, made.name, recursive=True)
        raise


def _exchange(folder: Path, first: str, second: str) -> bool:
    """Exchange two names in a folder at once. False: the second one does not exist. Errors: OSError."""
    fd = files.open_path(folder)
    try:
        if _libc.renameat2(fd, first.encode(), fd, second.encode(), RENAME_EXCHANGE) == 0:
            return True
        code = ctypes.get_errno()
    finally:
        os.close(fd)
    if code == errno.EINVAL:  # a file system that cannot exchange names, such as NFS
        files.remove_folder(folder, second, recursive=True)
    if code in (errno.ENOENT, errno.EINVAL):
        return False
    raise OSError(code, os.strerror(code), second)


def _remove_unfinished(folder: Path) -> None:
    """Remove what runners that were killed have left."""
    for name, found in files.list_folder(folder):
        if name.startswith(UNFINISHED) and found.st_mtime < time.time() - UNFINISHED_SECONDS:
            with suppress(OSError, ToolError):
                files.remove_folder(folder, name, recursive=True)


def _unpack(folder: Path, packed: bytes, prefix: str) -> None:
    """Write the folders and files of a tar that are below prefix. No name is resolved outside of this very folder:
    a command of the user may be writing beside us.
    """
    root_fd = files.open_path(folder)
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
            for member in tar.getmembers():
                path = Path(os.path.normpath(member.name))
                if prefix and not path.is_relative_to(prefix):
                    continue
                path = path.relative_to(prefix)
                _make_folders(root_fd, path if member.isdir() else path.parent)
                if member.isreg() and (data := tar.extractfile(member)) is not None:
                    fd = files.open_beneath(root_fd, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                    with open(fd, "wb") as file:
                        shutil.copyfileobj(data, file)
                        os.fchmod(fd, 0o755 if member.mode & 0o111 else 0o644)
    finally:
        os.close(root_fd)


def _make_folders(root_fd: int, path: Path) -> None:
    for parent in [*reversed(path.parents), path]:
        if parent.name:
            above = files.open_beneath(root_fd, parent.parent, files.FOLDER)
            try:
                with suppress(FileExistsError):
                    os.mkdir(parent.name, 0o755, dir_fd=above)
            finally:
                os.close(above)


def _of_project(project: Path | None, cwd: Path | None, name: str) -> list[SkillRoot]:
    """Return the folders of this name from a project's own folder down to cwd."""
    if project is None or cwd is None:
        return []
    between = [cwd, *cwd.parents][: len(cwd.relative_to(project).parts) + 1]
    return [SkillRoot(scope="repo", path=one / name, base=project) for one in reversed(between)]


class _Search:
    """One search of all roots, with limits that they share."""

    def __init__(self, hidden: Sequence[Path]) -> None:
        self.skills: list[FoundSkill] = []
        self.errors: list[tuple[Path, str]] = []
        self._hidden = hidden
        self._seen: set[Path] = set()
        self._is_full = False

    def run(self, root: SkillRoot) -> None:
        """Search one root; nothing is found in a folder that does not exist."""
        follows = root["base"] is None
        base = Path(os.path.realpath(root["path"])) if root["base"] is None else root["base"]
        if follows and base != root["path"] and self._is_hidden(base):
            return
        first = Path() if follows else root["path"].relative_to(base)
        waiting = deque([(base, first, 0)])
        while waiting and not self._is_full:
            base, folder, depth = waiting.popleft()
            if (base / folder) in self._seen:
                continue
            self._seen.add(base / folder)
            if len(self._seen) > MAX_FOLDERS:
                self._stop(base / folder, f"more than {MAX_FOLDERS} folders; the rest is left out")
                return
            for name, found in self._entries(base, folder, is_root=depth == 0):
                if name == FILE and modes.S_ISREG(found.st_mode):
                    self._add(root, base, folder)
                elif name.startswith(".") or depth == MAX_DEPTH:
                    continue
                elif modes.S_ISDIR(found.st_mode):
                    waiting.append((base, folder / name, depth + 1))
                elif modes.S_ISLNK(found.st_mode):
                    target = Path(os.path.realpath(base / folder / name))
                    if not target.is_dir():
                        continue
                    if target.is_relative_to(base):
                        waiting.append((base, target.relative_to(base), depth + 1))
                    elif follows and not self._is_hidden(target):
                        waiting.append((target, Path(), depth + 1))

    def _is_hidden(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._hidden)

    def _entries(self, base: Path, folder: Path, *, is_root: bool) -> list[tuple[str, os.stat_result]]:
        try:
            return files.list_folder(base, folder, MAX_ENTRIES, follow_links=is_root)
        except ToolError as error:
            self.errors.append((base / folder, str(error)))
        except OSError as error:
            if not is_root:
                self.errors.append((base / folder, f"cannot be read: {error.strerror}"))
        return []

    def _add(self, root: SkillRoot, base: Path, folder: Path) -> None:
        path = base / folder / FILE
        try:
            text = files.read_bytes(base, folder / FILE, MAX_FILE_BYTES, follow_links=False)
        except (ToolError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.errors.append((path, f"failed to read file: {reason}"))
            return
        if len(self.skills) == MAX_SKILLS:
            self._stop(path, f"more than {MAX_SKILLS} skills; the rest is left out")
            return
        interface = b""
        with suppress(ToolError, OSError):
            interface = files.read_bytes(base, folder / INTERFACE_FILE, INTERFACE_BYTES, follow_links=False)
        found = FoundSkill(
            scope=root["scope"],
            root=root["path"],
            base=base,
            path=path,
            head=text[:HEAD_BYTES],
            interface=interface,
        )
        self.skills.append(found)

    def _stop(self, path: Path, why: str) -> None:
        self._is_full = True
        self.errors.append((path, why))
