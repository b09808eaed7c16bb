"""Finds the plan in an answer of plan mode: the text between its tags is an item of its own (PROTOCOL 3.3, `plan`)."""

from __future__ import annotations

from collections.abc import Iterator

TAGS = ("<proposed_plan>", "</proposed_plan>")


class PlanSplitter:
    """Splits a text that arrives in pieces. The result does not depend on where the pieces end."""

    def __init__(self) -> None:
        self._undecided = ""  # the end of the text so far, which may be the beginning of a tag
        self._inside = False

    def feed(self, text: str) -> Iterator[tuple[bool, str]]:
        """Yield (whether it belongs to the plan, text) of everything that is certain by now, without tags."""
        text = self._undecided + text
        while (at := text.find(tag := TAGS[self._inside])) >= 0:
            yield from self._piece(text[:at])
            text, self._inside = text[at + len(tag) :], not self._inside
        undecided = next(size for size in range(len(tag) - 1, -1, -1) if text.endswith(tag[:size]))
        self._undecided = text[len(text) - undecided :]
        yield from self._piece(text[: len(text) - undecided])

    def flush(self) -> Iterator[tuple[bool, str]]:
        """Yield what looked like the beginning of a tag and was none."""
        undecided, self._undecided = self._undecided, ""
        yield from self._piece(undecided)

    def _piece(self, text: str) -> Iterator[tuple[bool, str]]:
        if text:
            yield self._inside, text


def split(text: str) -> tuple[str, str | None]:
    """Return a whole text without its plan, and the plan; None: there is none."""
    splitter = PlanSplitter()
    pieces = [*splitter.feed(text), *splitter.flush()]
    rest = "".join(piece for is_plan, piece in pieces if not is_plan)
    return rest, "".join(piece for is_plan, piece in pieces if is_plan).strip() or None
