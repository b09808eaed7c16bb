"""Leaves out what a model says again after its answer was cut.

The whole items of a cut answer are stored and shown, and the next request contains them. A model goes on from there, or
starts again from the beginning. Items that it repeats word for word are neither stored nor shown a second time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from shared.protocol.model_items import Message, ModelCall, ReasoningItem, WebSearchCall
from shared.store.items import Item
from workers.models.chunks import Chunk, Closed, Opened, ReasoningDelta, SummaryDelta, SummaryPart, TextDelta
from workers.models.output import message_text

SAID_KINDS = ("agentMessage", "reasoning", "plan", "context", "webSearch")

Said = list[tuple[str, str]]  # type and text of items


def said_before(rows: Sequence[Item], turn_id: str) -> Said:
    """Return what the last answer of this turn said before it was cut; [] when it was not cut."""
    said: Said = []
    for row in reversed(rows):
        if row.turn_id != turn_id or row.kind not in SAID_KINDS:
            break
        if row.kind != "context":
            said += [(item["type"], text) for item in row.model_items if (text := _text(cast(Any, item)))]
    return said


def leave_out_repeated(chunks: Iterable[Chunk], said: Said) -> Iterator[Chunk]:
    """Yield the chunks of an answer without items that are in `said`, each of which may be repeated once.

    An item is buffered while its text so far is the beginning of one of those.
    """
    left = list(said)
    buffered: list[Chunk] = []
    kind = text = ""
    for chunk in chunks:
        if not buffered and not (isinstance(chunk, Opened) and left):
            yield chunk
            continue
        buffered.append(chunk)
        match chunk:
            case Opened():
                kind, text = chunk.kind, ""
            case TextDelta() | SummaryDelta() | ReasoningDelta():
                text += chunk.text
            case Closed(item) if (item["type"], _text(item)) in left:
                left.remove((item["type"], _text(item)))
                buffered = []
        may_repeat = any(its_kind == kind and its_text.startswith(text) for its_kind, its_text in left)
        if not (may_repeat and isinstance(chunk, Opened | SummaryPart | TextDelta | SummaryDelta | ReasoningDelta)):
            yield from buffered
            buffered = []


def _text(item: Message | ReasoningItem | ModelCall | WebSearchCall) -> str:
    """Return the text of a message or reasoning; "" for a call or a search."""
    if item["type"] == "message":
        return message_text(item)
    if item["type"] == "reasoning":
        return "".join(part["text"] for part in (*item["summary"], *item.get("content", ())))
    return ""
