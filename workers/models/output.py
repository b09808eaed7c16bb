"""The output items of one answer, for APIs and servers that do not say where they begin and end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.ids import new_id
from workers.models.chunks import Chunk, Closed, Opened, SummaryPart


class OpenItem:
    """The message or reasoning whose deltas arrive now.

    kind:  "message", "reasoning" or None
    texts: the deltas of its text so far
    parts: the deltas of its summary's parts, by index
    """

    def __init__(self) -> None:
        self.kind: str | None = None
        self.texts: list[str] = []
        self.parts: dict[int, list[str]] = {}

    def open(self, kind: str) -> Iterator[Chunk]:
        """Begin an item; one that is still open has ended."""
        yield from self.close()
        self.kind = kind
        yield Opened(kind)

    def begin_part(self, index: int) -> Iterator[Chunk]:
        """Begin part `index` of the summary, unless it has begun."""
        if index not in self.parts:
            self.parts[index] = []
            yield SummaryPart(index)

    def close(self) -> Iterator[Chunk]:
        """End the open item, if there is one, with what its deltas said."""
        if self.kind == "message":
            yield Closed(message(self.text()))
        elif self.kind == "reasoning":
            summary = [{"type": "summary_text", "text": "".join(part)} for part in self.parts.values()]
            item: dict[str, Any] = {"type": "reasoning", "summary": summary}
            if self.texts:
                item["content"] = [{"type": "reasoning_text", "text": self.text()}]
            yield Closed(item)
        self.forget()

    def text(self) -> str:
        return "".join(self.texts)

    def forget(self) -> None:
        self.kind = None
        self.texts = []
        self.parts = {}


class CallIds:
    """Ids of tool calls that are unique in the thread, also where the server sends none or repeats them."""

    def __init__(self, history: list[dict[str, Any]]) -> None:
        self._taken = {item.get("call_id") for item in history}

    def take(self, call_id: str | None) -> str:
        if not call_id or call_id in self._taken:
            call_id = f"call_{new_id()}"
        self._taken.add(call_id)
        return call_id


def message(text: str) -> dict[str, Any]:
    """An assistant message as history keeps it."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
