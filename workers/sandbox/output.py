"""A command's output within a limit: its head and tail are kept, the middle is only counted."""

from __future__ import annotations

import codecs

BYTES_PER_TOKEN = 4
LONGEST_CHARACTER = 4  # bytes, in UTF-8


class CappedOutput:
    """Output without its middle when it is longer than max_bytes; a line says how much is missing.

    It is UTF-8, and never cut inside a character. Invalid bytes become U+FFFD in the text, and so does NUL.

    total_bytes: of the whole output
    overflows:   whether the head is full
    """

    def __init__(self, max_bytes: int) -> None:
        self.total_bytes = 0
        self.overflows = False
        self._half = max_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._newlines = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    @property
    def lines(self) -> int:
        """Lines of the whole output; the last one counts even if it is not ended."""
        return self._newlines + (bytes((self._tail or self._head)[-1:]) not in (b"", b"\n"))

    def add(self, data: bytes) -> str:
        """Append bytes. Return the text of those that still fitted into the head, without an incomplete character."""
        if not data:
            return ""
        self.total_bytes += len(data)
        self._newlines += data.count(b"\n")
        if self.overflows:
            self._add_to_tail(data)
            return ""
        fitting = data[: self._half - len(self._head)]
        self._head += fitting
        if len(fitting) < len(data):
            self._add_to_tail(self._take_incomplete(self._head) + data[len(fitting) :])
            self.overflows = True
        return _shown(self._decoder.decode(fitting))

    def pop_incomplete(self) -> bytes:
        """Remove and return the beginning of a character whose other bytes are still to come."""
        popped = self._take_incomplete(self._tail if self.overflows else self._head)
        self.total_bytes -= len(popped)
        return popped

    def ending(self) -> str:
        """Return what follows the text that `add` returned: the line that says what is missing, and the tail."""
        if not self.overflows:
            return _decoded(self._head[len(self._head) - _incomplete(self._head) :])
        self._trim()
        left_out = self.total_bytes - len(self._head) - len(self._tail)
        note = f"\n[… {left_out} bytes of output left out …]\n" if left_out else ""
        return note + _decoded(self._tail)

    def text(self) -> str:
        complete = len(self._head) - (0 if self.overflows else _incomplete(self._head))
        return _decoded(self._head[:complete]) + self.ending()

    def shortened(self, max_tokens: int) -> str:
        """Return the text for a model: when it has more than about max_tokens, its head and tail, and true counts."""
        tokens = count_tokens(self.total_bytes)
        if tokens <= max_tokens:
            return self.text()
        warning = f"Warning: truncated output (original token count: {tokens})\n"
        return warning + _without_middle(self.text(), max_tokens, self.lines, tokens)

    @staticmethod
    def _take_incomplete(kept: bytearray) -> bytes:
        complete = len(kept) - _incomplete(kept)
        taken = bytes(kept[complete:])
        del kept[complete:]
        return taken

    def _add_to_tail(self, data: bytes) -> None:
        self._tail += data
        if len(self._tail) > 2 * self._half:
            self._trim()

    def _trim(self) -> None:
        excess = max(0, len(self._tail) - self._half)
        end = excess + LONGEST_CHARACTER
        while excess and excess < min(end, len(self._tail)) and self._tail[excess] & 0xC0 == 0x80:
            excess += 1  # do not cut inside a character
        del self._tail[:excess]


def count_tokens(size_bytes: int) -> int:
    """Return a rough number of tokens, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def shorten(text: str, max_tokens: int) -> str:
    """Return the text, or its head and tail when it has more than about max_tokens."""
    tokens = count_tokens(len(text.encode()))
    if tokens <= max_tokens:
        return text
    return _without_middle(text, max_tokens, text.count("\n") + (not text.endswith("\n")), tokens)


def _without_middle(text: str, max_tokens: int, lines: int, tokens: int) -> str:
    """Return head and tail of a text. lines, tokens: of all that it stands for."""
    raw = text.encode()
    half = max_tokens * BYTES_PER_TOKEN // 2
    head, tail = raw[:half].decode(errors="ignore"), raw[len(raw) - half :].decode(errors="ignore")
    return f"Total output lines: {lines}\n\n{head}…{tokens - max_tokens} tokens truncated…{tail}"


def _incomplete(data: bytearray) -> int:
    """Return how many bytes at the end begin a character that is not complete."""
    ending = bytes(data[-LONGEST_CHARACTER:])
    return len(ending) - codecs.utf_8_decode(ending, "replace", False)[1]


def _decoded(data: bytearray) -> str:
    return _shown(data.decode(errors="replace"))


def _shown(text: str) -> str:
    return text.replace("\0", "\ufffd")
