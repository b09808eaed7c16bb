"""Parses the patch grammar of `apply_patch`, and applies a parsed change to the content of a file.

    *** Begin Patch
    *** Add File: path            then every line of the file behind a "+"
    *** Delete File: path
    *** Update File: path
    *** Move to: path             (optional, right after Update File)
    @@ line of the file           (optional: continue behind that line; several may follow each other)
     kept / -removed / +added     (an empty line is an empty kept line)
    *** End of File               (optional: the lines above are the last of the file)
    *** End Patch

Nothing here opens a file.
Errors:  ToolError, which names the line (from 1) or the file, and what was expected
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import NoReturn

from shared.errors import ToolError
from workers.tools.text_lines import TextLines

MAX_PATCH_BYTES = 512 * 1024
MAX_CHANGES = 100
MAX_SEARCHES = 1000  # hunks and anchors of a patch: each is a search through a file

BEGIN, END = "*** Begin Patch", "*** End Patch"
ADD, DELETE, UPDATE, MOVE = "*** Add File:", "*** Delete File:", "*** Update File:", "*** Move to:"
END_OF_FILE = "*** End of File"
BOM = "\ufeff"
MAX_PATH_CHARACTERS = 8 * 1024  # before the here-document of a command

# Models also send a patch as a shell command, with the patch as its here-document.
HEREDOC = re.compile(
    r"""\s*(?:cd[ \t]+(?P<folder>'[^'\n]*'|"[^"$`\\\n]*"|[\w./~@%+:,-]+)[ \t]*&&[ \t]*)?"""
    r"(?P<command>apply_?patch[ \t]*)?<<-?[ \t]*(?P<quote>['\"]?)(?P<mark>\w+)(?P=quote)[ \t]*\n"
    r"(?P<patch>.*)\n\t*(?P=mark)\s*",
    re.DOTALL,
)


Lines = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Hunk:
    """A position in a file and what changes there.

    anchors: lines that come before it; each is searched for behind the previous one
    lines:   (mark, text without line end); mark " " kept, "-" removed, "+" added
    at_end:  whether its last line must be the last line of the file
    """

    anchors: tuple[str, ...]
    lines: Lines
    at_end: bool


@dataclass(frozen=True, slots=True)
class Add:
    path: str
    content: str


@dataclass(frozen=True, slots=True)
class Delete:
    path: str


@dataclass(frozen=True, slots=True)
class Update:
    path: str
    move_to: str | None
    hunks: tuple[Hunk, ...]


Change = Add | Delete | Update


def parse(text: str) -> list[Change]:
    """Return the changes of a patch, in its order; at least one."""
    if len(text.encode(errors="replace")) > MAX_PATCH_BYTES:
        raise ToolError(f"invalid patch: longer than {MAX_PATCH_BYTES} bytes; split it")
    text = text.encode(errors="replace").decode().replace("\r\n", "\n").strip()
    heredoc = HEREDOC.fullmatch(text)
    return _Parser((heredoc["patch"].strip() if heredoc and not heredoc["folder"] else text).split("\n")).changes()


@dataclass(frozen=True, slots=True)
class ShellPatch:
    """A patch in a shell command, and the folder that the command enters first; "." for none."""

    folder: str
    text: str


def shell_patch(line: str) -> ShellPatch | None:
    """Return the patch of a command line that only calls apply_patch, perhaps behind one `cd`; None for any other."""
    if line.lstrip().startswith(BEGIN):
        return ShellPatch(".", line)
    found = HEREDOC.fullmatch(line) if "<<" in line[:MAX_PATH_CHARACTERS] else None
    if found is None or found["command"] is None or re.search(rf"^\t*{found['mark']}$", found["patch"], re.MULTILINE):
        return None
    folder = found["folder"] or "."
    return None if folder.startswith("~") else ShellPatch(folder.strip("'\""), found["patch"])


def updated(content: str, hunks: tuple[Hunk, ...], path: str) -> str:
    """Return a file's content after an update.

    A byte order mark and a missing last line end stay as they are. A new line ends like the line before it in the file,
    or like the next one where it becomes the first. Lines of a file without LF end with CR.
    """
    mark, content = (BOM, content.removeprefix(BOM)) if content.startswith(BOM) else ("", content)
    if mark:
        hunks = tuple(_without_bom(hunk) for hunk in hunks)
    if "\r" in content and "\n" not in content:
        return mark + _updated(content.replace("\r", "\n"), hunks, path).replace("\n", "\r")
    return mark + _updated(content, hunks, path)


def _updated(content: str, hunks: tuple[Hunk, ...], path: str) -> str:
    text = TextLines(content)
    result = _Result(text)
    for hunk in hunks:
        position = result.done
        for anchor in hunk.anchors:
            found = text.find([anchor], position)
            if found is None:
                raise ToolError(
                    f"{path}: no line {anchor!r} behind line {position}; '@@' needs a whole line of the file"
                )
            position = found + 1
        lines = hunk.lines
        old = [line for kind, line in lines if kind != "+"]
        if old:
            found = text.find(old, position, hunk.at_end)
            if found is None and (shorter := _without_blank_end(lines)):
                lines, old = shorter
                found = text.find(old, position, hunk.at_end)
            if found is None:
                where = "at the end of the file" if hunk.at_end else f"behind line {position}"
                raise ToolError(f"{path}: these lines are not {where}:\n" + "\n".join(old))
            position = found
        elif not hunk.anchors or hunk.at_end:
            position = text.line_count
        result.keep(position)
        for kept, changes in groupby(lines, lambda line: line[0] == " "):
            if kept:
                result.keep(result.done + len(list(changes)))
            else:
                result.replace(list(changes))
    result.keep(text.line_count)
    return result.content()


def _without_blank_end(lines: Lines) -> tuple[Lines, list[str]] | None:
    """Return a hunk's lines, and those of the file, without the blank ones before the next marker; None: no others."""
    end = max(at for at, line in enumerate(lines, 1) if line != (" ", ""))
    old = [line for kind, line in lines[:end] if kind != "+"]
    return (lines[:end], old) if old and end < len(lines) else None


def _without_bom(hunk: Hunk) -> Hunk:
    """Return a hunk whose lines begin without the mark, which the model may have copied from the file."""
    lines = tuple((kind, line.removeprefix(BOM)) for kind, line in hunk.lines)
    return Hunk(tuple(anchor.removeprefix(BOM) for anchor in hunk.anchors), lines, hunk.at_end)


class _Result:
    """The new content of a file, while it is made. done: the number of lines of the old one that it has passed."""

    def __init__(self, text: TextLines) -> None:
        self.done = 0
        self._text = text
        self._pieces: list[str] = []

    def keep(self, until: int) -> None:
        """Take the lines of the file up to this line number."""
        self._append(self._text.lines(self.done, until))
        self.done = until

    def replace(self, changes: list[tuple[str, str]]) -> None:
        """Pass the removed lines, and add the new ones with the ends that those had."""
        new = [line for kind, line in changes if kind == "+"]
        self.done += len(changes) - len(new)
        for line in new:
            self._append(line + self._text.line_end(self.done))

    def content(self) -> str:
        """Return the new content. It ends with an open line if the old one did."""
        content = "".join(self._pieces)
        return content.removesuffix("\n").removesuffix("\r") if self._text.ends_open else content

    def _append(self, piece: str) -> None:
        if not piece:
            return
        if self._pieces and not self._pieces[-1].endswith("\n"):  # that line is not the last one any more
            self._pieces.append(self._text.line_end(self.done - 1))
        self._pieces.append(piece)


class _Parser:
    """Reads the lines of a patch from the first to the last. at: the index of the next line."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.searches = 0

    def changes(self) -> list[Change]:
        if self.line.rstrip() != BEGIN:
            self.fail(f"'{BEGIN}'")
        self.at += 1
        changes: list[Change] = []
        while self.line.rstrip() != END:
            if len(changes) == MAX_CHANGES:
                raise ToolError(f"invalid patch: more than {MAX_CHANGES} files; split it")
            changes.append(self.change())
        if self.at != len(self.lines) - 1:
            self.at += 1
            self.fail(f"nothing behind '{END}'")
        if not changes:
            self.fail(f"'{ADD} …', '{DELETE} …' or '{UPDATE} …'")
        return changes

    def change(self) -> Change:
        if (path := self.header(ADD)) is not None:
            lines = []
            while self.line.startswith("+"):
                lines.append(self.pop_line()[1:] + "\n")
            if not self.line.startswith("***"):
                self.fail("a line of the new file behind '+', or the next '***' line")
            return Add(path, "".join(lines))
        if (path := self.header(DELETE)) is not None:
            return Delete(path)
        if (path := self.header(UPDATE)) is not None:
            move_to = self.header(MOVE)
            hunks: list[Hunk] = []
            while not self.line.startswith("*** "):
                hunks.append(self.hunk(first=not hunks))
            if not hunks and move_to is None:
                self.fail(f"'@@' and changed lines, or '{MOVE} …'")
            return Update(path, move_to, tuple(hunks))
        self.fail(f"'{ADD} …', '{DELETE} …', '{UPDATE} …' or '{END}'")

    def hunk(self, first: bool) -> Hunk:
        anchors = []
        opened = False
        while (line := self.line.rstrip()) == "@@" or line.startswith("@@ "):
            opened = True
            if anchor := self.pop_line()[3:].rstrip():
                anchors.append(anchor)
        if not opened and not first:
            self.fail("'@@' before further lines")
        begin = self.at
        lines = []
        while (line := self.line) == "" or line[0] in " +-":
            lines.append((line[:1] or " ", line[1:]))
            self.at += 1
        if self.at == begin or all(mark == " " and not text for mark, text in lines):
            self.at = begin
            self.fail("lines that begin with ' ', '-' or '+'")
        at_end = self.line.rstrip() == END_OF_FILE
        self.at += at_end
        self.searches += 1 + len(anchors)
        if self.searches > MAX_SEARCHES:
            raise ToolError(f"invalid patch: more than {MAX_SEARCHES} hunks; split it")
        if not self.line.startswith(("@@", "*** ")):
            self.fail("' ', '-' or '+' before a line of the file, '@@', or a '***' line")
        return Hunk(tuple(anchors), tuple(lines), at_end)

    def header(self, marker: str) -> str | None:
        if not self.line.startswith(marker):
            return None
        path = self.line.removeprefix(marker).strip()
        if not path:
            self.fail(f"a path behind '{marker}'")
        self.at += 1
        return path

    @property
    def line(self) -> str:
        if self.at >= len(self.lines):
            self.fail(f"'{END}'")
        return self.lines[self.at]

    def pop_line(self) -> str:
        line = self.line
        self.at += 1
        return line

    def fail(self, expected: str) -> NoReturn:
        found = repr(self.lines[self.at][:120]) if self.at < len(self.lines) else "the end of the text"
        raise ToolError(f"invalid patch: line {self.at + 1}: expected {expected}, found {found}")
