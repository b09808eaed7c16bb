"""Resolves a path that the model names: where the file is, and beneath which folder the server may open it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ToolError
from workers.sandbox import files, names
from workers.tools.base import ToolContext

MAX_PATH_BYTES = 4095  # PATH_MAX without its NUL
MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class RootedPath:
    """An absolute path without links, and the trusted folder beneath which it is opened."""

    path: Path
    root: Path

    @property
    def relative(self) -> Path:
        return self.path.relative_to(self.root)


@dataclass(frozen=True, slots=True)
class PatchTarget:
    """A file that the model names.

    path:  as people see it: absolute, without "..", inside the thread's own folders with its links
    entry: where its name is: what is deleted
    file:  what is read and written: another path than `entry` when that is a link
    """

    path: Path
    entry: RootedPath
    file: RootedPath

    @property
    def is_link(self) -> bool:
        return self.file != self.entry


def patch_target(name: str, ctx: ToolContext) -> PatchTarget:
    """Return the file of a path, which is absolute or relative to ctx.cwd. ".." goes back in the text of the path.

    Links inside the thread's own folders are followed as long as they stay there. Outside, links are resolved first, so
    that a person who is asked for approval sees the true path. Whatever opens the file follows no link any more.
    Errors: ToolError for a path that is invalid, that leads out of the thread's own folders by ".." or a link, or that
            the sandbox does not let the thread see
    """
    if not names.is_text(name) or not Path(name).name:
        raise ToolError(f"{name!r}: a path needs a name and cannot hold control characters")
    parts = Path(name).parts
    if len(os.fsencode(name)) > MAX_PATH_BYTES or any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
        raise ToolError(f"{name[:80]}…: the path is too long")
    shown = Path("/" + os.path.normpath(ctx.cwd / name).lstrip("/"))
    path = ctx.sandbox.host_path(shown)
    folder, file = files.real_paths([path.parent, path])
    entry = folder / path.name
    if not names.is_text(entry, file):
        raise ToolError(f"{name}: a link in this path leads to what {names.NO_TEXT}")
    if _is_own(path, ctx):
        if not (_is_own(entry, ctx) and _is_own(file, ctx)):
            raise ToolError(f"{name}: a link in this path leads out of the folders of this thread")
    elif ".." in parts:
        raise ToolError(f"{name}: '..' leads out of the folders of this thread; if it is meant, give the absolute path")
    else:
        path = entry
    if not path.name or not (ctx.sandbox.may_read(entry.parent) and ctx.sandbox.may_read(file)):
        raise ToolError(f"{name}: this thread may not see that path")
    if path == entry != file and not _is_own(path, ctx):
        raise ToolError(f"{name}: is a symbolic link outside of the folders of this thread; name the file itself")
    is_shown = path == ctx.sandbox.host_path(shown)
    return PatchTarget(shown if is_shown else path, _rooted(entry, ctx), _rooted(file, ctx))


def _is_own(path: Path, ctx: ToolContext) -> bool:
    """Return whether a path lies in a folder that belongs to the thread."""
    sandbox = ctx.sandbox
    own = (sandbox.cwd, *sandbox.writable_roots, *([sandbox.private_tmp] if sandbox.private_tmp else ()))
    return any(folder in path.parents for folder in own)


def _rooted(path: Path, ctx: ToolContext) -> RootedPath:
    rules = ctx.sandbox.rules()
    return RootedPath(path, next(folder for folder in path.parents if folder in rules))
