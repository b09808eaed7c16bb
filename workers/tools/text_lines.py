"""The lines of a file: finds lines as a model writes them, and knows their ends."""

from __future__ import annotations

from collections.abc import Callable

PIECE_CHARACTERS = 1 << 16  # of a file that is compared leniently

TYPOGRAPHY = str.maketrans("‐‑‒–—―−‘’‚‛“”„‟\u00a0\u2002\u2003\u2009\u202f\u3000", "-------''''\"\"\"\"      ")


class TextLines:
    """A file's content, in which lines are found. Lines are counted from 0.

    It is never split into a list: a file of short lines would take fifty times its size.
    """

    def __init__(self, content: str) -> None:
        self.ends_open = bool(content) and not content.endswith("\n")
        self.line_count = content.count("\n") + self.ends_open
        self._raw = _View(content)
        self._views: dict[Callable[[str], str], _View] = {}
        self._line_end: tuple[int, str] | None = None

    def lines(self, start: int, end: int) -> str:
        """Return lines with their ends."""
        offset = self._raw.offset(start)
        return self._raw.text[offset : self._raw.offset(end)]

    def line_end(self, position: int) -> str:
        """Return the end that a new line at this position has: of the line before it, else of the next one."""
        if self._line_end is None or self._line_end[0] != position:
            text = self._raw.text
            end = text.rfind("\n", 0, self._raw.offset(position))
            end = end if end >= 0 else text.find("\n")
            self._line_end = position, "\r\n" if end > 0 and text[end - 1] == "\r" else "\n"
        return self._line_end[1]

    def find(self, wanted: list[str], start: int, at_end: bool = False) -> int | None:
        """Return the first line, from start on, where these lines are; the strictest rule wins."""
        for rule in RULES:
            if rule not in self._views:
                self._views[rule] = _View(_ruled(self._raw.text, rule))
            view = self._views[rule]
            needle = "".join(rule(line) + "\n" for line in wanted)
            begin = view.offset(start)
            if at_end:
                found = len(view.text) - len(needle) if view.text.endswith("\n" + needle) or view.text == needle else -1
            elif view.text.startswith(needle, begin):
                found = begin
            else:
                found = view.text.find("\n" + needle, begin) + 1 or -1
            if found >= begin:
                return view.line(found)
        return None


class _View:
    """A text, and the offset of one of its lines, from which the next ones are found: lines are asked for in order."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._line = self._offset = 0

    def offset(self, line: int) -> int:
        """Return where a line begins; for a line behind the last one, where the text ends."""
        if line < self._line:
            self._line = self._offset = 0
        while self._line < line:
            self._offset = self.text.find("\n", self._offset) + 1 or len(self.text)
            self._line += 1
        return self._offset

    def line(self, offset: int) -> int:
        """Return the line that begins at an offset."""
        if offset < self._offset:
            self._line = self._offset = 0
        self._line += self.text.count("\n", self._offset, offset)
        self._offset = offset
        return self._line


def _ruled(text: str, rule: Callable[[str], str]) -> str:
    """Return the text with a rule applied to each line and an end behind each, in pieces that need little memory."""
    pieces = []
    begin = 0
    while begin < len(text):
        end = text.find("\n", begin + PIECE_CHARACTERS) + 1 or len(text)
        lines = text[begin:end].removesuffix("\n").split("\n")
        pieces += ["\n".join([rule(line.removesuffix("\r")) for line in lines]), "\n"]
        begin = end
    return "".join(pieces)


def _exact(line: str) -> str:
    return line


def _plain(line: str) -> str:
    """Return a line as a model may write it: bytes that are no UTF-8 were shown to it as U+FFFD."""
    if not line.isascii():
        line = line.encode(errors="surrogateescape").decode(errors="replace")
    return line.strip().translate(TYPOGRAPHY)


# From strict to lenient: exact; ignoring white space at the end; at both ends; as typed in ASCII.
RULES: tuple[Callable[[str], str], ...] = (_exact, str.rstrip, str.strip, _plain)
