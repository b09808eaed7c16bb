"""Reasoning between `<think>` and `</think>` in the text of an answer, as some Chat servers send it.

Only an answer that begins with the opening tag has such reasoning; anywhere else the tags are ordinary text.
"""

from __future__ import annotations

from collections.abc import Iterator

OPENING, CLOSING = "<think>", "</think>"


class ThinkingTags:
    """Splits the text of one answer, delta by delta. A tag may be spread over several deltas."""

    def __init__(self) -> None:
        self._kind: str | None = None  # of the text that arrives now; None: not known yet
        self._held = ""  # text that may be a part of a tag
        self._trims = False  # whether white space is dropped: it stood between the closing tag and the answer

    def split(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield (kind, text), kind "message" or "reasoning", for more text of the answer."""
        self._held += text
        if self._kind is None:
            begun = self._held.lstrip()
            if OPENING.startswith(begun[: len(OPENING)]) and len(begun) < len(OPENING):
                return
            if begun.startswith(OPENING):
                self._kind, self._held = "reasoning", begun[len(OPENING) :]
            else:
                self._kind = "message"
        if self._kind == "reasoning":
            yield from self._reasoning()
        if self._kind == "message":
            yield from self._message()

    def rest(self) -> Iterator[tuple[str, str]]:
        """Yield what was kept back, at the end of the answer."""
        if self._held:
            yield self._kind or "message", self._held
            self._held = ""

    def _reasoning(self) -> Iterator[tuple[str, str]]:
        before, closing, after = self._held.partition(CLOSING)
        if closing:
            self._kind, self._held, self._trims = "message", after, True
        else:
            kept = _tag_begun(self._held)
            before, self._held = self._held[: len(self._held) - kept], self._held[len(self._held) - kept :]
        if before:
            yield "reasoning", before

    def _message(self) -> Iterator[tuple[str, str]]:
        text, self._held = self._held, ""
        if self._trims:
            text = text.lstrip()
        if text:
            self._trims = False
            yield "message", text


def _tag_begun(text: str) -> int:
    """Return how many of the last characters may be the beginning of the closing tag."""
    return next((length for length in range(len(CLOSING) - 1, 0, -1) if text.endswith(CLOSING[:length])), 0)
