"""The files that a patch changes: their contents while the patch is read, and how all of them are changed, or none.

A content is a string whose bytes that are no UTF-8 are lone surrogates (`surrogateescape`), so that it can be written
byte for byte.
"""

from __future__ import annotations

import codecs
import re
import secrets
import stat as modes
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from shared.errors import ToolError
from workers.sandbox import files
from workers.tools.base import ToolContext
from workers.tools.patch_target import PatchTarget, RootedPath, patch_target

MAX_FILE_BYTES = 16 * 1024 * 1024
LONE = re.compile("[\udc80-\udcff]")  # a byte that is no UTF-8
ENCODINGS = (  # by their first bytes
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of one file. Contents are as PatchedFiles has them.

    mark:     A for added, D for deleted, M for modified
    old:      the content of `source` before this edit; None: the file does not exist
    new:      its content afterwards; None: the file is deleted
    to:       where the new content goes; `source` itself unless the file moves
    replaced: the content that `to` has before this edit; None: it does not exist
    """

    mark: str
    source: PatchTarget
    to: PatchTarget
    old: str | None
    new: str | None
    replaced: str | None


class PatchedFiles:
    """The workspace's files as the edits of a patch leave them, one after the other; nothing is written yet."""

    def __init__(self, ctx: ToolContext) -> None:
        self._ctx = ctx
        self._found: dict[RootedPath, str | None] = {}  # as they are now
        self._contents: dict[RootedPath, str | None] = {}  # as the edits so far leave them
        self._links: set[RootedPath] = set()  # names that are links now
        self._gone: set[RootedPath] = set()  # names that an edit has deleted: a link there is one no more

    def target(self, name: str) -> PatchTarget:
        """Return the file of a path that the model named. Errors: ToolError."""
        target = patch_target(name, self._ctx)
        if target.entry in self._gone:
            return replace(target, file=target.entry)
        if target.is_link:
            self._links.add(target.entry)
        return target

    def content(self, target: PatchTarget) -> str | None:
        """Return a file's content, None when it does not exist. Errors: ToolError unless it is a plain file."""
        path = target.file
        if path in self._gone and path not in self._contents:
            return None
        if path not in self._contents:
            self._found[path] = self._contents[path] = content(path)
        return self._contents[path]

    def text(self, target: PatchTarget) -> str:
        """Return the content of a file whose lines can be edited. Errors: ToolError, which names its encoding."""
        text = self.content(target) or ""
        for begin, encoding in ENCODINGS:
            if _bytes(text[: len(begin)]).startswith(begin):
                raise ToolError(f"{target.path}: is {encoding}, which patches cannot edit; convert it to UTF-8 first")
        return text

    def check_writable(self, target: PatchTarget) -> None:
        """Refuse to overwrite a file that its owner has made read-only. Errors: ToolError."""
        if self.content(target) is None or target.file not in self._found or self._found[target.file] is None:
            return
        with suppress(OSError):
            mode = files.stat(target.file.root, target.file.relative, follow_links=False).st_mode
            if not mode & modes.S_IWUSR:
                raise ToolError(f"{target.path}: is read-only (mode {mode & 0o777:o}); make it writable first")

    def apply(self, edit: Edit) -> None:
        """Note an edit, so that the following ones begin with what it leaves."""
        if edit.new is None or edit.to is not edit.source:
            self._gone.add(edit.source.entry)
            if not edit.source.is_link:
                self._contents[edit.source.file] = None
        if edit.new is not None:
            self._contents[edit.to.file] = edit.new

    def check_unchanged(self) -> None:
        """Raise ToolError when a file is not what it was when the patch was read."""
        for path, text in self._found.items():
            if content(path) != text:
                raise ToolError(f"{path.path} has changed since the patch was read; nothing was changed")
        for link in self._links:
            with suppress(OSError):
                if modes.S_ISLNK(files.stat(link.root, link.relative, follow_links=False).st_mode):
                    continue
            raise ToolError(f"{link.path} has changed since the patch was read; nothing was changed")


def content(path: RootedPath) -> str | None:
    """Return a file's content, None when it does not exist. Errors: ToolError unless it is a plain file in bounds."""
    for part in [*reversed(path.relative.parents), path.relative]:
        try:
            found = files.stat(path.root, part, follow_links=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ToolError(f"{path.path}: {error.strerror}") from None
        if modes.S_ISLNK(found.st_mode):
            raise ToolError(f"{path.path}: {part} has become a symbolic link")
    try:
        return files.read_bytes(path.root, path.relative, MAX_FILE_BYTES).decode(errors="surrogateescape")
    except OSError as error:
        raise ToolError(f"{path.path}: {error.strerror}") from None


@overload
def as_text(content: str) -> str: ...


@overload
def as_text(content: str | None) -> str | None: ...


def as_text(content: str | None) -> str | None:
    """Return a content as clients see it: bytes that are no UTF-8 as U+FFFD."""
    return content if content is None or content.isascii() else _bytes(content).decode(errors="replace")


def is_utf8(content: str) -> bool:
    """Return whether all bytes of a content are UTF-8."""
    return content.isascii() or not LONE.search(content)


def apply_edits(edits: Iterable[Edit]) -> None:
    """Change the files, all or none. Errors: ToolError, which says what was changed."""
    undo: list[tuple[Path, Callable[[], None]]] = []
    moved_aside: list[RootedPath] = []
    path = Path()
    try:
        for edit in edits:
            path = edit.to.path
            moves = edit.to is not edit.source
            if edit.new is not None:
                like = edit.source.file if moves and edit.replaced is None else None
                _write(edit.to.file, edit.new, edit.replaced, like, undo)
            if edit.new is None or moves:
                path = edit.source.path
                moved_aside.append(_move_aside(edit.source.entry, undo))
    except (OSError, ToolError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        not_restored = [str(path) for path, step in reversed(undo) if not _undone(step)]
        state = (
            f"these files could not be restored: {', '.join(not_restored)}" if not_restored else "nothing was changed"
        )
        raise ToolError(f"{path}: {reason}; {state}") from None
    for old in moved_aside:
        with suppress(OSError, ToolError):  # the patch is applied; only a temporary file stays behind
            files.unlink(old.root, old.relative)


def _write(
    path: RootedPath, new: str, old: str | None, like: RootedPath | None, undo: list[tuple[Path, Callable[[], None]]]
) -> None:
    """Write a file. like: the file whose mode a new one gets, or None for the usual mode"""
    files.make_folders(path.root, path.relative.parent)
    if like is not None:
        files.copy_file(like.root, like.relative, path.root, path.relative, MAX_FILE_BYTES)
        undo.append((path.path, lambda: files.unlink(path.root, path.relative)))
    files.write_bytes(path.root, path.relative, _bytes(new))
    if old is not None:
        undo.append((path.path, lambda: files.write_bytes(path.root, path.relative, _bytes(old))))
    elif like is None:
        undo.append((path.path, lambda: files.unlink(path.root, path.relative)))


def _move_aside(path: RootedPath, undo: list[tuple[Path, Callable[[], None]]]) -> RootedPath:
    """Rename a file instead of deleting it, so that undoing needs no disk space and keeps the file's mode."""
    aside = RootedPath(path.path.with_name(f".{secrets.token_hex(8)}.tmp"), path.root)
    files.rename(path.root, path.relative, aside.relative)
    undo.append((path.path, lambda: files.rename(path.root, aside.relative, path.relative)))
    return aside


def _undone(step: Callable[[], None]) -> bool:
    """Undo a step. Return whether that succeeded."""
    try:
        step()
    except (OSError, ToolError):
        return False
    return True


def _bytes(content: str) -> bytes:
    return content.encode(errors="surrogateescape")
