"""fs/*: files and folders of what the owner may name.

Shapes:  params and results as the schemas of api/methods/fs_*.py load and dump them
Errors:  InvalidRequest, NotFound, ToolError, OSError
"""

from __future__ import annotations

import base64
import os
import stat as modes
from pathlib import Path
from typing import Any

from shared.config import Config
from shared.errors import InvalidRequest, ToolError, Unavailable
from workers.calls.area import Area, Place, area
from workers.calls.running import RunningCall
from workers.sandbox import files

MAX_FILE_BYTES = 11 * 1024 * 1024  # base64 makes a third more of it; a frame may have 16 MiB
MAX_TREE_ENTRIES = 20_000  # of a folder that is copied
MAX_TREE_BYTES = 1024 * 1024 * 1024


def read_file(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    with area(config, call.owner).place(params["path"]) as at:
        data = files.read_bytes(at.root, at.relative, MAX_FILE_BYTES, follow_links=at.follow_links)
    return {"data_base64": base64.b64encode(data).decode()}


def write_file(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """Whole or not at all; the folder must be there."""
    data = base64.b64decode(params["data_base64"])
    with area(config, call.owner).place(params["path"]) as at:
        files.write_bytes(at.root, at.relative, data)
    return {}


def create_directory(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """With those above it unless recursive is false; one that is there already is no error then only."""
    place = area(config, call.owner)
    real = place.real(params["path"])
    if not params["recursive"]:
        with place.place(params["path"]) as at:
            files.stat(at.root, at.relative.parent)
            if not files.make_folders(at.root, at.relative):
                raise FileExistsError(17, os.strerror(17))
        return {}
    if place.hosted:
        files.make_folders(place.own, real.relative_to(place.own))
        return {}
    there = files.nearest(real)
    with files.pinned(there) as root:
        files.make_folders(root, real.relative_to(there))
    return {}


def get_metadata(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """Of a link: that it is one, and what it leads to, if the owner may see that. Creation times are not kept."""
    place = area(config, call.owner)
    with place.place(params["path"], follow=False) as at:
        itself = files.stat(at.root, at.relative, follow_links=False)
    target = _followed(place, params["path"]) if modes.S_ISLNK(itself.st_mode) else itself
    return {
        "is_directory": target is not None and modes.S_ISDIR(target.st_mode),
        "is_file": target is not None and modes.S_ISREG(target.st_mode),
        "is_symlink": modes.S_ISLNK(itself.st_mode),
        "created_at_ms": 0,
        "modified_at_ms": (target or itself).st_mtime_ns // 1_000_000,
    }


def read_directory(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    place = area(config, call.owner)
    with place.place(params["path"]) as at:
        found = files.list_folder(at.root, at.relative, follow_links=at.follow_links)
    entries = []
    for name, itself in found:
        link = modes.S_ISLNK(itself.st_mode)
        target = _followed(place, str(Path(params["path"]) / name)) if link else itself
        kind = 0 if target is None else target.st_mode
        shown = name.encode(errors="replace").decode()
        entries.append({"file_name": shown, "is_directory": modes.S_ISDIR(kind), "is_file": modes.S_ISREG(kind)})
    return {"entries": entries}


def remove(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """A link itself, never what it leads to."""
    place = area(config, call.owner)
    real = place.real(params["path"], follow=False)
    try:
        with place.place(params["path"], follow=False) as at:
            if modes.S_ISDIR(files.stat(at.root, at.relative, follow_links=False).st_mode):
                place.check_tree(real)
                files.remove_folder(at.root, at.relative, recursive=params["recursive"])
            else:
                files.unlink(at.root, at.relative)
    except FileNotFoundError:
        if not params["force"]:
            raise
    return {}


def copy(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """A file, a link as a link, or with recursive a folder; what is there already is replaced file by file."""
    place = area(config, call.owner)
    source, target = params["source_path"], params["destination_path"]
    with place.place(source, follow=False) as at, place.place(target, follow=False) as to:
        mode = files.stat(at.root, at.relative, follow_links=False).st_mode
        if not modes.S_ISDIR(mode):
            _Copying(call).one(mode, at, to)
            return {}
        if not params["recursive"]:
            raise InvalidRequest("fs/copy requires recursive: true when sourcePath is a directory")
        if place.real(target).is_relative_to(place.real(source)):
            raise InvalidRequest("fs/copy cannot copy a directory to itself or one of its descendants")
        place.check_tree(place.real(source))
        place.check_tree(place.real(target))
        files.make_folders(to.root, to.relative)
    with place.folder(source) as at, place.folder(target) as to:
        _Copying(call).tree(at, to)
    return {}


class _Copying:
    """Copies until it is too much, or nobody waits for it any more."""

    def __init__(self, call: RunningCall) -> None:
        self._call = call
        self._entries = 0
        self._bytes = 0

    def one(self, mode: int, at: Place, to: Place) -> None:
        self._entries += 1
        if self._entries > MAX_TREE_ENTRIES:
            raise InvalidRequest(f"fs/copy: more than {MAX_TREE_ENTRIES} entries")
        if self._call.cancelled.is_set():
            raise Unavailable("fs/copy: cancelled half-way")
        if modes.S_ISLNK(mode):
            files.copy_link(at.root, at.relative, to.root, to.relative)
        elif modes.S_ISREG(mode):
            left = MAX_TREE_BYTES - self._bytes
            self._bytes += files.copy_file(at.root, at.relative, to.root, to.relative, left)
        elif modes.S_ISDIR(mode):
            files.make_folders(to.root, to.relative)
            self.tree(at, to)
        else:
            raise InvalidRequest("fs/copy only supports regular files, directories, and symlinks")

    def tree(self, at: Place, to: Place) -> None:
        for name, entry in files.list_folder(at.root, at.relative, MAX_TREE_ENTRIES, follow_links=False):
            self.one(
                entry.st_mode,
                Place(at.root, at.relative / name, follow_links=False),
                Place(to.root, to.relative / name, follow_links=False),
            )


def _followed(place: Area, path: str) -> os.stat_result | None:
    """What a link leads to; None where that is nothing, or nothing that the owner may see."""
    try:
        with place.place(path) as at:
            return files.stat(at.root, at.relative, follow_links=at.follow_links)
    except (InvalidRequest, ToolError, OSError):
        return None
