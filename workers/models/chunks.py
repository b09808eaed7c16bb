"""What the agent sends to a model, and what a model's stream is made of, whatever API it came from.

Order in one answer: Opened, its deltas, Closed, per output item; TokenUsage once at the end.
A stream that ends without TokenUsage was cut; a stream that breaks raises ModelError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.protocol.model_items import Message, ModelCall, ModelItem, OfferedTool, ReasoningItem, WebSearchCall


@dataclass(frozen=True, slots=True)
class Opened:
    """An output item begins. kind: "message" or "reasoning" (tool calls come as Closed only)."""

    kind: str


@dataclass(frozen=True, slots=True)
class SearchOpened:
    """A provider's own search of the web begins; it may run beside others and ends as Closed.

    id: as of the item
    """

    id: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the open message."""

    text: str


@dataclass(frozen=True, slots=True)
class SummaryPart:
    """A part of the open reasoning's summary begins, from 0."""

    index: int


@dataclass(frozen=True, slots=True)
class SummaryDelta:
    """More text of part `index` of the open reasoning's summary."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More raw reasoning text (open models), content part `index`."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Closed:
    """An output item is complete: a Responses-API item, as history keeps it.

    Shape: {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text"}], "phase"?}
           | {"type": "reasoning", "summary": [{"type": "summary_text", "text"}], "content"?, "encrypted_content"?}
           | {"type": "function_call", "name", "call_id", "arguments": JSON text}
           | {"type": "custom_tool_call", "name", "call_id", "input": text}
           | {"type": "web_search_call", …}, as the provider sent it
    """

    item: Message | ReasoningItem | ModelCall | WebSearchCall


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """The answer is complete. Counts in tokens, as PROTOCOL section 6 `tokenUsage.last`."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    total_tokens: int = 0
    response_id: str | None = None

    @property
    def spent(self) -> int:
        """All tokens that the answer took; 0: the server did not report them."""
        return self.total_tokens or self.input_tokens + self.output_tokens


Chunk = Opened | SearchOpened | TextDelta | SummaryPart | SummaryDelta | ReasoningDelta | Closed | TokenUsage


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request to a model, built from the log.

    model:        the model's name at its provider
    input:        Responses-API items, oldest first; no call without its output
    tools:        Responses-API tool definitions
    effort, summary: reasoning settings or None
    output_schema: JSON Schema that the final message must follow, or None
    thread_id:    prompt_cache_key and header `thread-id`
    turn_id:      header `x-client-request-id`
    max_answer_tokens: limit of the answer; None: the model's own
    """

    model: str
    input: list[ModelItem]
    tools: Sequence[OfferedTool]
    thread_id: str
    turn_id: str
    effort: str | None = None
    summary: str | None = None
    output_schema: Mapping[str, object] | None = None
    max_answer_tokens: int | None = None
