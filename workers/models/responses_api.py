"""The Responses API (PROTOCOL section 11): a prompt out, chunks back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson

from shared.errors import ModelError
from workers.models.chunks import Chunk, Closed, Prompt, ReasoningDelta, SummaryDelta, TextDelta, Usage
from workers.models.client import Cut, Stream, disconnected, failed
from workers.models.output import CallIds, OpenItem, message

if TYPE_CHECKING:
    from shared.config import Provider
    from workers.agent.signal import Signal

# Models that answer 400 to settings of reasoning; every other model is taken for one that knows them.
NOT_REASONING = ("gpt-3", "gpt-4", "chatgpt")


class ResponsesModel:
    """Models behind a provider with `wire_api = "responses"`."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def stream(self, prompt: Prompt, signal: Signal) -> Iterator[Chunk]:
        """The answer to one prompt; ends without Usage as soon as the signal is called.

        Errors: ModelError (PROTOCOL section 10)
        """
        headers = {
            "session-id": prompt.thread_id,
            "thread-id": prompt.thread_id,
            "x-client-request-id": prompt.turn_id,
        }
        stream = Stream(self._provider, "/responses", headers, orjson.dumps(_body(prompt)))
        try:
            with signal.heard_by(lambda _: stream.cut()):
                yield from _chunks(stream, prompt)
        except Cut:
            return
        finally:
            stream.close()


def _body(prompt: Prompt) -> dict[str, Any]:
    body: dict[str, Any] = {
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
                answer.open.texts.append(event["delta"])
                yield TextDelta(event["delta"])
            elif kind in ("response.failed", "error"):
                raise _failure(stream, event)
            elif kind == "response.incomplete":
                reason = (event["response"].get("incomplete_details") or {}).get("reason")
                told = f"Incomplete response returned, reason: {reason or 'unknown'}"
                raise ModelError(told, cut_short=reason == "max_output_tokens")
            else:
                yield from answer.take(kind, event)
                if kind == "response.completed":
                    return
    except (KeyError, TypeError, AttributeError):
        raise disconnected("an event of the wrong shape") from None
    raise disconnected("stream closed before response.completed")


class _Answer:
    """What has arrived of one answer. Some servers never announce an item or its end: its first delta opens it."""

    def __init__(self, prompt: Prompt) -> None:
        self.open = OpenItem()
        self._call_ids = CallIds(prompt.input)
        self._closed: set[str] = set()  # types of items, ids of calls

    def take(self, kind: str | None, event: dict[str, Any]) -> Iterator[Chunk]:
        """The chunks of any event but the frequent and the fatal ones; unknown events have none."""
        if kind == "response.refusal.delta":
            yield from self._ensure("message")
            self.open.texts.append(event["delta"])
            yield TextDelta(event["delta"])
        elif kind == "response.reasoning_summary_part.added":
            yield from self._ensure("reasoning")
            yield from self.open.begin_part(event["summary_index"])
        elif kind == "response.reasoning_summary_text.delta":
            yield from self._ensure("reasoning")
            index = event["summary_index"]
            yield from self.open.begin_part(index)
            self.open.parts[index].append(event["delta"])
            yield SummaryDelta(index, event["delta"])
        elif kind == "response.reasoning_text.delta":
            yield from self._ensure("reasoning")
            self.open.texts.append(event["delta"])
            yield ReasoningDelta(event.get("content_index", 0), event["delta"])
        elif kind == "response.output_item.added":
            if event["item"]["type"] in ("message", "reasoning"):
                yield from self.open.open(event["item"]["type"])
        elif kind == "response.output_item.done":
            yield from self._close(event["item"])
        elif kind == "response.completed":
            yield from self._complete(event["response"])

    def _ensure(self, kind: str) -> Iterator[Chunk]:
        if self.open.kind != kind:
            yield from self.open.open(kind)

    def _close(self, item: dict[str, Any]) -> Iterator[Chunk]:
        kind = item["type"]
        if kind in ("message", "reasoning"):
            yield from self._ensure(kind)
            kept = _kept_message(item, self.open.text()) if kind == "message" else _kept_reasoning(item)
            self.open.forget()
        elif kind in _CALL_MEMBERS and item.get("status") != "incomplete":
            yield from self.open.close()
            kept = {"type": kind, "call_id": self._call_ids.take(item.get("call_id")), "name": item["name"]}
            kept[_CALL_MEMBERS[kind]] = item[_CALL_MEMBERS[kind]]
        else:
            return
        self._closed.add(item.get("call_id") or kind)
        yield Closed(kept)

    def _complete(self, response: dict[str, Any]) -> Iterator[Chunk]:
        if self.open.kind is not None:
            self._closed.add(self.open.kind)
            yield from self.open.close()
        for item in response.get("output") or []:
            if (item.get("call_id") or item["type"]) not in self._closed:
                yield from self._close(item)
        usage = response.get("usage") or {}
        input_tokens, output_tokens = usage.get("input_tokens") or 0, usage.get("output_tokens") or 0
        yield Usage(
            input_tokens=input_tokens,
            cached_input_tokens=(usage.get("input_tokens_details") or {}).get("cached_tokens") or 0,
            output_tokens=output_tokens,
            reasoning_output_tokens=(usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0,
            total_tokens=usage.get("total_tokens") or input_tokens + output_tokens,
            response_id=response.get("id"),
        )


_CALL_MEMBERS = {"function_call": "arguments", "custom_tool_call": "input"}


def _kept_message(item: dict[str, Any], streamed: str) -> dict[str, Any]:
    texts = [part.get("text") or part.get("refusal") or "" for part in item.get("content") or []]
    kept = message("".join(texts) or streamed)
    return {**kept, "phase": item["phase"]} if item.get("phase") else kept


def _kept_reasoning(item: dict[str, Any]) -> dict[str, Any]:
    # Without its id: with store=false the server would not know it (PROTOCOL section 11).
    kept = {"type": "reasoning", "summary": item.get("summary") or []}
    return kept | {name: item[name] for name in ("content", "encrypted_content") if item.get(name)}


def _failure(stream: Stream, event: dict[str, Any]) -> ModelError:
    error = (event.get("response") or event).get("error") or event
    return failed(error.get("code"), stream.redact(str(error.get("message") or "response.failed event received")))
