"""What a command said, however much: head and tail are kept, the middle is counted."""

from __future__ import annotations

BYTES_PER_TOKEN = 4


class CappedOutput:
    """Text of at most max_bytes (UTF-8), half of it the beginning and half the end, plus a line on what is missing."""

    def __init__(self, max_bytes: int) -> None:
        self._half = max_bytes // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    @property
    def total_bytes(self) -> int:
        return len(self._head) + len(self._tail) + self._left_out

    @property
    def overflows(self) -> bool:
        """Whether the beginning is full."""
        return bool(self._tail or self._left_out)

    def add(self, text: str) -> str:
        """Take more text; what of it became part of the beginning."""
        raw = text.encode()
        kept = b"" if self.overflows else raw[: self._half - len(self._head)]
        if len(kept) < len(raw):
            kept = kept.decode(errors="ignore").encode()  # not half a character
        self._head += kept
        self._tail += raw[len(kept) :]
        if len(self._tail) > 2 * self._half:
            self._trim()
        return kept.decode()

    def ending(self) -> str:
        """What follows the beginning: the line on what is missing, and the end."""
        self._trim()
        note = f"\n[… {self._left_out} bytes of output left out …]\n" if self._left_out else ""
        return note + self._tail.decode()

    def text(self) -> str:
        return self._head.decode() + self.ending()

    def _trim(self) -> None:
        excess = max(0, len(self._tail) - self._half)
        while excess and excess < len(self._tail) and self._tail[excess] & 0xC0 == 0x80:
            excess += 1  # not half a character
        self._left_out += excess
        del self._tail[:excess]


def count_tokens(size_bytes: int) -> int:
    """A rough number of tokens, rounded up."""
    return -(-size_bytes // BYTES_PER_TOKEN)


def shorten(text: str, max_tokens: int) -> str:
    """The text, or its beginning and end when it has more than about max_tokens."""
    raw = text.encode()
    if count_tokens(len(raw)) <= max_tokens:
        return text
    half = max_tokens * BYTES_PER_TOKEN // 2
    head, tail = raw[:half].decode(errors="ignore"), raw[len(raw) - half :].decode(errors="ignore")
    cut_tokens = count_tokens(len(raw)) - max_tokens
    lines = len(text.splitlines())
    return f"Total output lines: {lines}\n\n{head}…{cut_tokens} tokens truncated…{tail}"
