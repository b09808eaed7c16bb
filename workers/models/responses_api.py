"""The Responses API (PROTOCOL section 11): a prompt goes out, chunks come back.

Owns the request's body and the reading of its events. Events are untrusted JSON: one of another shape than expected
ends the stream as disconnected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from shared.errors import ModelError
from shared.protocol.model_items import (
    CustomToolCall,
    FunctionCall,
    Message,
    ModelCall,
    ReasoningItem,
    WebSearchCall,
)
from shared.protocol.web_search import CALL as WEB_SEARCH_CALL
from workers.models import members
from workers.models.chunks import (
    Chunk,
    Closed,
    Prompt,
    ReasoningDelta,
    SearchOpened,
    SummaryDelta,
    TextDelta,
    TokenUsage,
)
from workers.models.client import Stream
from workers.models.failures import disconnected, incomplete, reported_failure
from workers.models.http_model import WireApi
from workers.models.output import NAMELESS, CallIds, OpenItem, message

# Models that answer 400 to reasoning settings; every other model is assumed to know them.
NOT_REASONING = ("gpt-3", "gpt-4", "chatgpt")


def _headers(prompt: Prompt) -> dict[str, str]:
    return {
        "session-id": prompt.thread_id,
        "thread-id": prompt.thread_id,
        "x-client-request-id": prompt.turn_id,
    }


def _body(prompt: Prompt) -> dict[str, object]:
    body: dict[str, object] = {
        "model": prompt.model,
        "input": prompt.input,
        "tools": prompt.tools,
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "store": False,
        "stream": True,
        "prompt_cache_key": prompt.thread_id,
    }
    if not prompt.model.startswith(NOT_REASONING):
        reasoning = {"effort": prompt.effort, "summary": prompt.summary if prompt.summary != "none" else None}
        body["reasoning"] = {name: value for name, value in reasoning.items() if value}
        body["include"] = ["reasoning.encrypted_content"]
    if prompt.max_answer_tokens is not None:
        body["max_output_tokens"] = prompt.max_answer_tokens
    if prompt.output_schema is not None:
        text_format = {"type": "json_schema", "name": "output", "strict": True, "schema": prompt.output_schema}
        body["text"] = {"format": text_format}
    return body


def _chunks(stream: Stream, prompt: Prompt) -> Iterator[Chunk]:
    answer = _Answer(prompt)
    try:
        for event in stream.events():
            kind = event.get("type")
            if kind == "response.output_text.delta":
                if answer.open.kind != "message":
                    yield from answer.open.open("message")
                delta = members.text(event["delta"])
                answer.open.texts.append(delta)
                yield TextDelta(delta)
            elif kind in ("response.failed", "error"):
                raise _failure(stream, event)
            elif kind == "response.incomplete":
                details = members.members(event["response"].get("incomplete_details"))
                reason = members.optional_text(details.get("reason"))
                raise incomplete(reason or "unknown", cut_short=reason == "max_output_tokens")
            else:
                yield from answer.read(kind, event)
                if kind == "response.completed":
                    return
    except (KeyError, TypeError, AttributeError):
        raise disconnected("an event of the wrong shape") from None
    raise disconnected("stream closed before response.completed")


class _Answer:
    """What has arrived of one answer. Some servers never announce an item or its end; its first delta opens it."""

    def __init__(self, prompt: Prompt) -> None:
        self.open = OpenItem()
        self._call_ids = CallIds(prompt.input)
        self._closed: set[str] = set()  # types of messages and reasoning, ids of calls and searches

    def read(self, kind: str | None, event: Any) -> Iterator[Chunk]:
        """Yield the chunks of any event but text deltas and failures; an unknown event has none."""
        if kind == "response.refusal.delta":
            yield from self._ensure("message")
            delta = members.text(event["delta"])
            self.open.texts.append(delta)
            yield TextDelta(delta)
        elif kind == "response.reasoning_summary_part.added":
            yield from self._ensure("reasoning")
            yield from self.open.begin_part(members.index(event["summary_index"]))
        elif kind == "response.reasoning_summary_text.delta":
            yield from self._ensure("reasoning")
            index, delta = members.index(event["summary_index"]), members.text(event["delta"])
            yield from self.open.begin_part(index)
            self.open.parts[index].append(delta)
            yield SummaryDelta(index, delta)
        elif kind == "response.reasoning_text.delta":
            yield from self._ensure("reasoning")
            index, delta = members.index(event.get("content_index", 0)), members.text(event["delta"])
            self.open.texts.append(delta)
            yield ReasoningDelta(index, delta)
        elif kind == "response.output_item.added":
            item = event["item"]
            if item["type"] in ("message", "reasoning"):
                yield from self.open.open(item["type"])
            elif item["type"] == WEB_SEARCH_CALL and isinstance(item.get("id"), str):
                yield from self.open.close()
                yield SearchOpened(item["id"])
        elif kind == "response.output_item.done":
            yield from self._close(event["item"])
        elif kind == "response.completed":
            yield from self._complete(event["response"])

    def _ensure(self, kind: str) -> Iterator[Chunk]:
        if self.open.kind != kind:
            yield from self.open.open(kind)

    def _close(self, item: Any) -> Iterator[Chunk]:
        kind = item["type"]
        kept: Message | ReasoningItem | ModelCall | WebSearchCall
        if kind == "message" or kind == "reasoning":
            yield from self._ensure(kind)
            kept = _kept_message(item, self.open.text()) if kind == "message" else _kept_reasoning(item)
            self.open.reset()
        elif kind in ("function_call", "custom_tool_call") and item.get("status") != "incomplete":
            yield from self.open.close()
            kept = _kept_call(item, self._call_ids.unique(members.optional_text(item.get("call_id"))))
        elif kind == WEB_SEARCH_CALL:
            yield from self.open.close()
            kept = item
        else:
            return
        self._closed.add(_key(item))
        yield Closed(kept)

    def _complete(self, response: Any) -> Iterator[Chunk]:
        """Yield items that came with the end alone, then the usage."""
        if self.open.kind is not None:
            self._closed.add(self.open.kind)
            yield from self.open.close()
        for item in response.get("output") or []:
            if _key(item) not in self._closed:
                yield from self._close(item)
        usage = members.members(response.get("usage"))
        taken, given = (members.members(usage.get(f"{name}_tokens_details")) for name in ("input", "output"))
        input_tokens, output_tokens = (
            members.tokens(usage.get("input_tokens")),
            members.tokens(usage.get("output_tokens")),
        )
        yield TokenUsage(
            input_tokens=input_tokens,
            cached_input_tokens=members.tokens(taken.get("cached_tokens")),
            output_tokens=output_tokens,
            reasoning_output_tokens=members.tokens(given.get("reasoning_tokens")),
            total_tokens=members.tokens(usage.get("total_tokens")) or input_tokens + output_tokens,
            response_id=members.optional_text(response.get("id")),
        )


def _key(item: Any) -> str:
    """Return what distinguishes the items of an answer; there is one open message or reasoning at a time."""
    return str(item.get("call_id") or (item["type"] == WEB_SEARCH_CALL and item.get("id")) or item["type"])


def _kept_message(item: Any, streamed: str) -> Message:
    """Return what history keeps of a message. streamed: its deltas, for servers that send no text with the end."""
    texts = [part.get("text") or part.get("refusal") or "" for part in item.get("content") or []]
    kept = message("".join(texts) or streamed)
    if phase := members.optional_text(item.get("phase")):
        kept["phase"] = phase
    return kept


def _kept_reasoning(item: Any) -> ReasoningItem:
    # Without its id: with store=false the server would not know it (PROTOCOL section 11).
    kept: ReasoningItem = {
        "type": "reasoning",
        "summary": members.reasoning_parts(item.get("summary"), "summary_text"),
    }
    if content := members.reasoning_parts(item.get("content"), "reasoning_text"):
        kept["content"] = content
    if encrypted := members.optional_text(item.get("encrypted_content")):
        kept["encrypted_content"] = encrypted
    return kept


def _kept_call(item: Any, call_id: str) -> ModelCall:
    name = members.text(item["name"]) or NAMELESS
    if item["type"] == "function_call":
        arguments = members.json_text(item["arguments"])
        kept = FunctionCall(type="function_call", call_id=call_id, name=name, arguments=arguments)
        if namespace := members.optional_text(item.get("namespace")):
            kept["namespace"] = namespace
        return kept
    return CustomToolCall(type="custom_tool_call", call_id=call_id, name=name, input=members.text(item["input"]))


def _failure(stream: Stream, event: Any) -> ModelError:
    error = members.members((event.get("response") or event).get("error")) or event
    message = members.optional_text(error.get("message")) or "response.failed event received"
    return reported_failure(members.optional_text(error.get("code")), stream.redact(message))


API = WireApi("/responses", _headers, _body, _chunks)
