"""The patch grammar of `apply_patch`: text → changes, and a change → the new content of a file.

    *** Begin Patch
    *** Add File: path            then every line of the file behind a "+"
    *** Delete File: path
    *** Update File: path
    *** Move to: path             (optional, right after Update File)
    @@ line of the file           (optional; go on behind that line; several may follow each other)
     kept / -removed / +added     (an empty line is an empty kept line)
    *** End of File               (optional: the lines above are the last of the file)
    *** End Patch

Nothing here touches a file.
Errors:  ToolError that names the line (from 1) or the file, and what was expected
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import NoReturn

from shared.errors import ToolError

MAX_PATCH_BYTES = 512 * 1024
MAX_CHANGES = 100
MAX_PLACES = 1000  # hunks and anchors of a patch: each is a search through a file

BEGIN, END = "*** Begin Patch", "*** End Patch"
ADD, DELETE, UPDATE, MOVE = "*** Add File:", "*** Delete File:", "*** Update File:", "*** Move to:"
END_OF_FILE = "*** End of File"

# How models also send it: the shell command that the text would be the input of.
HEREDOC = re.compile(r"(?:apply_patch[ \t]*)?<<-?[ \t]*(['\"]?)(\w+)\1[ \t]*\n(.*)\n\2\s*", re.DOTALL)

TYPOGRAPHY = str.maketrans("‐‑‒–—―−‘’‚‛“”„‟\u00a0\u2002\u2003\u2009\u202f\u3000", "-------''''\"\"\"\"      ")


@dataclass(frozen=True, slots=True)
class Hunk:
    """A place in a file and what changes there.

    anchors: lines that come before it, each looked for behind the one before
    lines:   (mark, text without line end); mark " " kept, "-" removed, "+" added
    at_end:  whether its last line must be the last of the file
    """

    anchors: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
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
    """The changes of a patch, in its order; at least one."""
    if len(text.encode(errors="replace")) > MAX_PATCH_BYTES:
        raise ToolError(f"invalid patch: longer than {MAX_PATCH_BYTES} bytes; split it")
    text = text.replace("\r\n", "\n").strip()
    heredoc = HEREDOC.fullmatch(text)
    return _Parser((heredoc[3].strip() if heredoc else text).split("\n")).changes()


def updated(content: str, hunks: tuple[Hunk, ...], path: str) -> str:
    """A file's content after an update. Line ends (LF or CRLF) and a missing last one stay as they are."""
    text = _Text(content)
    result: list[str] = []
    done = 0
    for hunk in hunks:
        place = done
        for anchor in hunk.anchors:
            found = text.find([anchor], place)
            if found is None:
                raise ToolError(f"{path}: no line {anchor!r} behind line {place}; '@@' needs a whole line of the file")
            place = found + 1
        lines = hunk.lines
        old = [line for mark, line in lines if mark != "+"]
        if old:
            found = text.find(old, place, hunk.at_end)
            while found is None and len(old) > 1 and lines[-1] == (" ", ""):  # a blank line before the next marker
                lines, old = lines[:-1], old[:-1]
                found = text.find(old, place, hunk.at_end)
            if found is None:
                where = "at the end of the file" if hunk.at_end else f"behind line {place}"
                raise ToolError(f"{path}: these lines are not {where}:\n" + "\n".join(old))
            place = found
        elif not hunk.anchors or hunk.at_end:
            place = len(text.lines)
        result += text.lines[done:place]
        for mark, line in lines:
            if mark == "+":
                result.append(line + text.line_end)
            else:
                result += text.lines[place : place + 1] if mark == " " else []
                place += 1
        done = place
    result += text.lines[done:]
    return _joined(result, text)


class _Parser:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.places = 0

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
                lines.append(self.take()[1:] + "\n")
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
            if anchor := self.take()[3:].rstrip():
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
        self.places += 1 + len(anchors)
        if self.places > MAX_PLACES:
            raise ToolError(f"invalid patch: more than {MAX_PLACES} hunks; split it")
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

    def take(self) -> str:
        line = self.line
        self.at += 1
        return line

    def fail(self, expected: str) -> NoReturn:
        found = repr(self.lines[self.at][:120]) if self.at < len(self.lines) else "the end of the text"
        raise ToolError(f"invalid patch: line {self.at + 1}: expected {expected}, found {found}")


class _Text:
    """A file's lines, with their ends, and where runs of lines stand in them."""

    def __init__(self, content: str) -> None:
        self.lines = content.split("\n")
        self.lines = [line + "\n" for line in self.lines[:-1]] + ([self.lines[-1]] if self.lines[-1] else [])
        self.line_end = "\r\n" if self.lines and self.lines[0].endswith("\r\n") else "\n"
        self.ends_open = bool(content) and not content.endswith("\n")
        self._views: dict[Callable[[str], str], tuple[str, list[int]]] = {}

    def find(self, wanted: list[str], start: int, at_end: bool = False) -> int | None:
        """The first line number (from 0) at or behind start where these lines stand; the strictest rule wins."""
        for rule in RULES:
            text, begins = self._view(rule)
            needle = "\n" + "".join(rule(line) + "\n" for line in wanted)
            if at_end:
                found = len(text) - len(needle) if text.endswith(needle) else -1
            else:
                found = text.find(needle, begins[start])
            if found >= begins[start]:
                return bisect_left(begins, found)
        return None

    def _view(self, rule: Callable[[str], str]) -> tuple[str, list[int]]:
        # One search in one long string is linear however often a line repeats; comparing line by line is not.
        if rule not in self._views:
            lines = [rule(line.removesuffix("\n").removesuffix("\r")) for line in self.lines]
            begins = list(accumulate((len(line) + 1 for line in lines), initial=0))
            self._views[rule] = "\n" + "".join(line + "\n" for line in lines), begins
        return self._views[rule]


def _joined(lines: list[str], text: _Text) -> str:
    if text.ends_open and lines:
        lines = [line if line.endswith("\n") else line + text.line_end for line in lines]
        lines[-1] = lines[-1].removesuffix("\n").removesuffix("\r")
    return "".join(lines)


def _exact(line: str) -> str:
    return line


def _plain(line: str) -> str:
    return line.strip().translate(TYPOGRAPHY)


# From strict to lenient: exact, white space at the end ignored, at both ends, typographic signs as their ASCII ones.
RULES: tuple[Callable[[str], str], ...] = (_exact, str.rstrip, str.strip, _plain)
