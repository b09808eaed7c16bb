"""The plan in an answer of plan mode: what stands between its tags is an item of its own (PROTOCOL 3.3, `plan`)."""

from __future__ import annotations

from collections.abc import Iterator

TAGS = ("<proposed_plan>", "</proposed_plan>")


class PlanSplitter:
    """Parts a text that comes in pieces; the result does not depend on where it is cut."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False

    def feed(self, text: str) -> Iterator[tuple[bool, str]]:
        """(whether it is of the plan, text) of all that is certain by now; tags are left out."""
        text = self._held + text
        while (at := text.find(tag := TAGS[self._inside])) >= 0:
            yield from self._piece(text[:at])
            text, self._inside = text[at + len(tag) :], not self._inside
        held = next(size for size in range(len(tag) - 1, -1, -1) if text.endswith(tag[:size]))
        self._held = text[len(text) - held :]
        yield from self._piece(text[: len(text) - held])

    def flush(self) -> Iterator[tuple[bool, str]]:
        """What looked like the beginning of a tag and was none."""
        held, self._held = self._held, ""
        yield from self._piece(held)

    def _piece(self, text: str) -> Iterator[tuple[bool, str]]:
        if text:
            yield self._inside, text


def split(text: str) -> tuple[str, str | None]:
    """A whole text without its plan, and the plan; None: there is none."""
    splitter = PlanSplitter()
    pieces = [*splitter.feed(text), *splitter.flush()]
    said = "".join(piece for is_plan, piece in pieces if not is_plan)
    return said, "".join(piece for is_plan, piece in pieces if is_plan).strip() or None
