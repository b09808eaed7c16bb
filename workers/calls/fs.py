"""fs/*: read and change the files and folders that the owner may name.

Shapes:  params and results as api/methods/fs_*.py send and expect them
Errors:  InvalidRequest, NotFound, ToolError, OSError
"""

from __future__ import annotations

import base64
import os
import stat as modes
from pathlib import Path
from typing import TypedDict

from shared.config import Config
from shared.errors import InvalidRequest, ToolError, Unavailable
from workers.calls.running import RunningCall
from workers.sandbox import files
from workers.workspace.scope import ScopedPath, WorkspaceScope, workspace_scope

MAX_FILE_BYTES = 11 * 1024 * 1024  # base64 adds a third; a frame may have 16 MiB
MAX_TREE_ENTRIES = 20_000  # in a folder that is copied
MAX_TREE_BYTES = 1024 * 1024 * 1024


class PathParams(TypedDict):
    """path: absolute, as in all params here."""

    path: str


class WriteParams(PathParams):
    """data_base64: the whole new content."""

    data_base64: str


class CreateParams(PathParams):
    """recursive: make missing parents too."""

    recursive: bool


class RemoveParams(PathParams):
    """recursive: remove a folder with its content. force: a missing path is no error."""

    recursive: bool
    force: bool


class CopyParams(TypedDict):
    """recursive: needed to copy a folder."""

    source_path: str
    destination_path: str
    recursive: bool


class Empty(TypedDict):
    """A result without members."""


class FileContent(TypedDict):
    """data_base64: the content of a file."""

    data_base64: str


class Metadata(TypedDict):
    """Facts about a path. Those of a link are its target's, except that is_symlink is true."""

    is_directory: bool
    is_file: bool
    is_symlink: bool
    created_at_ms: int
    modified_at_ms: int


class DirectoryEntry(TypedDict):
    """One entry of a folder; of a link, what its target is."""

    file_name: str
    is_directory: bool
    is_file: bool


class DirectoryListing(TypedDict):
    """entries: sorted by name."""

    entries: list[DirectoryEntry]


def read_file(config: Config, call: RunningCall, params: PathParams) -> FileContent:
    with workspace_scope(config, call.owner).scoped_path(params["path"]) as at:
        data = files.read_bytes(at.root, at.relative, MAX_FILE_BYTES, follow_links=at.follow_links)
    return {"data_base64": base64.b64encode(data).decode()}


def write_file(config: Config, call: RunningCall, params: WriteParams) -> Empty:
    """Write the whole file or nothing. Its folder must exist."""
    data = base64.b64decode(params["data_base64"])
    with workspace_scope(config, call.owner).scoped_path(params["path"]) as at:
        files.write_bytes(at.root, at.relative, data)
    return {}


def create_directory(config: Config, call: RunningCall, params: CreateParams) -> Empty:
    """Make a folder. With recursive, make its parents too, and accept a folder that exists already."""
    scope = workspace_scope(config, call.owner)
    real = scope.real_path(params["path"])
    if not params["recursive"]:
        with scope.scoped_path(params["path"]) as at:
            files.stat(at.root, at.relative.parent)
            if not files.make_folders(at.root, at.relative):
                raise FileExistsError(17, os.strerror(17))
        return {}
    if scope.hosted:
        with scope.scoped_path(params["path"]) as at:
            files.make_folders(at.root, at.relative)
        return {}
    existing = files.nearest(real)
    with files.pinned(existing) as root:
        files.make_folders(root, real.relative_to(existing))
    return {}


def get_metadata(config: Config, call: RunningCall, params: PathParams) -> Metadata:
    """Describe a file, folder or link; a link also by its target if the owner may see that. Creation times are 0."""
    scope = workspace_scope(config, call.owner)
    with scope.scoped_path(params["path"], follow=False) as at:
        itself = files.stat(at.root, at.relative, follow_links=False)
    target = _followed(scope, params["path"]) if modes.S_ISLNK(itself.st_mode) else itself
    return {
        "is_directory": target is not None and modes.S_ISDIR(target.st_mode),
        "is_file": target is not None and modes.S_ISREG(target.st_mode),
        "is_symlink": modes.S_ISLNK(itself.st_mode),
        "created_at_ms": 0,
        "modified_at_ms": (target or itself).st_mtime_ns // 1_000_000,
    }


def read_directory(config: Config, call: RunningCall, params: PathParams) -> DirectoryListing:
    scope = workspace_scope(config, call.owner)
    with scope.scoped_path(params["path"]) as at:
        found = files.list_folder(at.root, at.relative, follow_links=at.follow_links)
    entries: list[DirectoryEntry] = []
    for name, itself in found:
        link = modes.S_ISLNK(itself.st_mode)
        target = _followed(scope, str(Path(params["path"]) / name)) if link else itself
        kind = 0 if target is None else target.st_mode
        shown = name.encode(errors="replace").decode()
        entries.append({"file_name": shown, "is_directory": modes.S_ISDIR(kind), "is_file": modes.S_ISREG(kind)})
    return {"entries": entries}


def remove(config: Config, call: RunningCall, params: RemoveParams) -> Empty:
    """Remove a file, a folder, or a link itself, never the target of a link."""
    scope = workspace_scope(config, call.owner)
    real = scope.real_path(params["path"], follow=False)
    try:
        with scope.scoped_path(params["path"], follow=False) as at:
            if modes.S_ISDIR(files.stat(at.root, at.relative, follow_links=False).st_mode):
                scope.check_replaceable(real)
                files.remove_folder(at.root, at.relative, recursive=params["recursive"])
            else:
                files.unlink(at.root, at.relative)
    except FileNotFoundError:
        if not params["force"]:
            raise
    return {}


def copy(config: Config, call: RunningCall, params: CopyParams) -> Empty:
    """Copy a file, a link as a link, or with recursive a folder. Existing files are replaced one by one."""
    scope = workspace_scope(config, call.owner)
    source, target = params["source_path"], params["destination_path"]
    with scope.scoped_path(source, follow=False) as at, scope.scoped_path(target, follow=False) as to:
        mode = files.stat(at.root, at.relative, follow_links=False).st_mode
        if not modes.S_ISDIR(mode):
            _Copying(call).entry(mode, at, to)
            return {}
        if not params["recursive"]:
            raise InvalidRequest("fs/copy requires recursive: true when sourcePath is a directory")
        if scope.real_path(target).is_relative_to(scope.real_path(source)):
            raise InvalidRequest("fs/copy cannot copy a directory to itself or one of its descendants")
        scope.check_tree(scope.real_path(source))
        scope.check_replaceable(scope.real_path(target))
        files.make_folders(to.root, to.relative)
    with scope.scoped_folder(source) as at, scope.scoped_folder(target) as to:
        _Copying(call).tree(at, to)
    return {}


class _Copying:
    """Copies a file or a folder, until it exceeds a limit or its caller no longer waits."""

    def __init__(self, call: RunningCall) -> None:
        self._call = call
        self._entries = 0
        self._bytes = 0

    def entry(self, mode: int, source: ScopedPath, target: ScopedPath) -> None:
        self._entries += 1
        if self._entries > MAX_TREE_ENTRIES:
            raise InvalidRequest(f"fs/copy: more than {MAX_TREE_ENTRIES} entries")
        if self._call.cancelled.is_set():
            raise Unavailable("fs/copy was cancelled half-way")
        if modes.S_ISLNK(mode):
            files.copy_link(source.root, source.relative, target.root, target.relative)
        elif modes.S_ISREG(mode):
            left = MAX_TREE_BYTES - self._bytes
            self._bytes += files.copy_file(source.root, source.relative, target.root, target.relative, left)
        elif modes.S_ISDIR(mode):
            files.make_folders(target.root, target.relative)
            self.tree(source, target)
        else:
            raise InvalidRequest("fs/copy only supports regular files, directories, and symlinks")

    def tree(self, source: ScopedPath, target: ScopedPath) -> None:
        for name, entry in files.list_folder(source.root, source.relative, MAX_TREE_ENTRIES, follow_links=False):
            self.entry(
                entry.st_mode,
                ScopedPath(source.root, source.relative / name, follow_links=False),
                ScopedPath(target.root, target.relative / name, follow_links=False),
            )


def _followed(scope: WorkspaceScope, path: str) -> os.stat_result | None:
    """Return the target of a link; None when it does not exist or the owner may not see it."""
    try:
        with scope.scoped_path(path) as at:
            return files.stat(at.root, at.relative, follow_links=at.follow_links)
    except (InvalidRequest, ToolError, OSError):
        return None
