"""The output items of one answer, for APIs and servers that do not report where an item begins and ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.ids import new_id
from shared.protocol.model_items import Message, ModelItem, ReasoningItem
from workers.models.chunks import Chunk, Closed, Opened, ReasoningDelta, SummaryPart, TextDelta

NAMELESS = "nameless"  # the name of a call that came without one: no tool has it, and servers refuse an empty name


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
        """Begin an item; an item that is still open has ended."""
        yield from self.close()
        self.kind = kind
        yield Opened(kind)

    def add(self, kind: str, text: str) -> Iterator[Chunk]:
        """Add a delta to the open message or reasoning; begin it unless it is open."""
        if self.kind != kind:
            yield from self.open(kind)
        self.texts.append(text)
        yield TextDelta(text) if kind == "message" else ReasoningDelta(0, text)

    def begin_part(self, index: int) -> Iterator[Chunk]:
        """Begin part `index` of the summary, unless it has begun."""
        if index not in self.parts:
            self.parts[index] = []
            yield SummaryPart(index)

    def close(self) -> Iterator[Chunk]:
        """End the open item, if there is one, with the text of its deltas."""
        if self.kind == "message":
            yield Closed(message(self.text()))
        elif self.kind == "reasoning":
            item: ReasoningItem = {
                "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "".join(part)} for part in self.parts.values()],
            }
            if self.texts:
                item["content"] = [{"type": "reasoning_text", "text": self.text()}]
            yield Closed(item)
        self.reset()

    def text(self) -> str:
        return "".join(self.texts)

    def reset(self) -> None:
        """Drop the open item without a chunk."""
        self.kind = None
        self.texts = []
        self.parts = {}


class CallIds:
    """Ids of tool calls that are unique in the thread, also where the server sends none or repeats them."""

    def __init__(self, history: Sequence[ModelItem]) -> None:
        self._used = {call_id for item in history if isinstance(call_id := item.get("call_id"), str)}

    def unique(self, call_id: str | None) -> str:
        """Return the server's id, or a new one when the thread has that id already."""
        if not call_id or call_id in self._used:
            call_id = f"call_{new_id()}"
        self._used.add(call_id)
        return call_id


def message_text(item: Message) -> str:
    """Return the text of a message, without images."""
    content = item["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] != "input_image")


def message(text: str) -> Message:
    """Return an assistant message as history keeps it."""
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
