"""Where a path that the model names lies, and beneath which folder the server may open it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ToolError
from workers.sandbox import files
from workers.tools.base import ToolContext

MAX_PATH_BYTES = 4095  # PATH_MAX without its NUL
MAX_NAME_BYTES = 255
CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")  # what forges lines in a diff or a terminal


@dataclass(frozen=True, slots=True)
class Place:
    """A file: its absolute path, and the trusted folder that it is opened beneath."""

    path: Path
    root: Path

    @property
    def relative(self) -> Path:
        return self.path.relative_to(self.root)


def place(name: str, ctx: ToolContext) -> Place:
    """The place of a path, relative to ctx.cwd or absolute.

    Outside of the thread's own folders the links on the way are resolved, so that a person who is asked sees the true
    path; inside they are left for whoever opens the file to refuse, or to follow beneath the root.
    Errors: ToolError for a path that makes no sense or that the sandbox does not let the thread see
    """
    path = Path(name)
    if CONTROL.search(name) or ".." in path.parts or not path.name:
        raise ToolError(f"{name!r}: a path needs a name and can hold neither '..' nor control characters")
    if len(os.fsencode(name)) > MAX_PATH_BYTES or any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in path.parts):
        raise ToolError(f"{name[:80]}…: the path is too long")
    path = ctx.cwd / path
    if not any(path.is_relative_to(own) for own in (ctx.sandbox.cwd, *ctx.sandbox.writable_roots)):
        path = files.real_path(path.parent) / path.name
    if not ctx.sandbox.may_read(path):
        raise ToolError(f"{name}: outside of what this thread may see")
    rules = ctx.sandbox.rules()
    return Place(path, next(folder for folder in path.parents if folder in rules))
