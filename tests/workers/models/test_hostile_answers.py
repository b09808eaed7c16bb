"""Answers in which one member, at any depth, is missing or of another type: what goes on to the turn is well-formed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from shared.errors import ModelError
from shared.protocol.model_item_checks import checked
from shared.protocol.token_usage import MAX_TOKENS
from tests.support.strange import one_member_changed
from tests.workers.models.asking import prompt_of
from workers.models import chat_completions, responses_api
from workers.models.chunks import (
    Chunk,
    Closed,
    Opened,
    ReasoningDelta,
    SearchOpened,
    SummaryDelta,
    SummaryPart,
    TextDelta,
    TokenUsage,
)

CALL = {"type": "function_call", "call_id": "c1", "name": "exec_command", "arguments": '{"cmd": "ls"}'}
RESPONSES = [
    {"type": "response.created", "response": {"id": "r"}},
    {"type": "response.output_item.added", "item": {"type": "reasoning", "id": "i"}},
    {"type": "response.reasoning_summary_part.added", "summary_index": 0},
    {"type": "response.reasoning_summary_text.delta", "delta": "why", "summary_index": 0},
    {"type": "response.reasoning_text.delta", "delta": "because", "content_index": 0},
    {
        "type": "response.output_item.done",
        "item": {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "why"}],
            "content": [{"type": "reasoning_text", "text": "because"}],
            "encrypted_content": "x",
        },
    },
    {"type": "response.output_item.added", "item": {"type": "message"}},
    {"type": "response.output_text.delta", "delta": "Hel"},
    {"type": "response.refusal.delta", "delta": "lo"},
    {
        "type": "response.output_item.done",
        "item": {
            "type": "message",
            "phase": "final",
            "content": [{"type": "output_text", "text": "Hello"}, {"type": "refusal", "refusal": "no"}],
        },
    },
    {"type": "response.output_item.added", "item": {"type": "web_search_call", "id": "w"}},
    {
        "type": "response.output_item.done",
        "item": {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "q"}},
    },
    {"type": "response.output_item.done", "item": CALL},
    {
        "type": "response.output_item.done",
        "item": {"type": "custom_tool_call", "call_id": "c2", "name": "apply_patch", "input": "text"},
    },
    {
        "type": "response.completed",
        "response": {
            "id": "r",
            "output": [{**CALL, "call_id": "c3", "namespace": "n"}],
            "usage": {
                "input_tokens": 100,
                "input_tokens_details": {"cached_tokens": 10},
                "output_tokens": 20,
                "output_tokens_details": {"reasoning_tokens": 5},
                "total_tokens": 120,
            },
        },
    },
]
FAILURES = [
    {"type": "response.failed", "response": {"error": {"code": "server_is_overloaded", "message": "later"}}},
    {"type": "error", "code": "x", "message": "broken"},
    {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}},
]
CHAT = [
    {"id": "r", "object": "chunk", "choices": [{"delta": {"role": "assistant", "reasoning_content": "why"}}]},
    {"choices": [{"delta": {"reasoning": "because"}}]},
    {"choices": [{"delta": {"content": "Hello"}}]},
    {"choices": [{"delta": {"refusal": "no"}}]},
    {
        "choices": [
            {
                "delta": {
                    "tool_calls": [
                        {"index": 0, "id": "c1", "function": {"name": "exec_command", "arguments": '{"cmd":'}},
                        {"index": 1, "id": "c2", "function": {"name": "apply_patch", "arguments": "{}"}},
                    ]
                }
            }
        ]
    },
    {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '"ls"}'}}]}}]},
    {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
    },
]
CHAT_FAILURES = [{"error": {"code": "x", "type": "y", "message": "broken"}}]


class Events:
    """A stream of events that were parsed already."""

    def __init__(self, events: list[Any]) -> None:
        self._events = events

    def events(self) -> Iterator[Any]:
        return iter(self._events)

    def redact(self, text: str) -> str:
        return text.replace("secret", "")


@pytest.mark.parametrize("number", range(len(RESPONSES) + len(FAILURES)))
def test_an_event_of_the_responses_api_with_a_strange_member_goes_on_well_formed_or_ends_the_answer(
    number: int,
) -> None:
    events = RESPONSES if number < len(RESPONSES) else [*RESPONSES[:3], FAILURES[number - len(RESPONSES)]]
    _check_all(responses_api.API, events, min(number, len(events) - 1))


@pytest.mark.parametrize("number", range(len(CHAT) + len(CHAT_FAILURES)))
def test_an_event_of_chat_completions_with_a_strange_member_goes_on_well_formed_or_ends_the_answer(number: int) -> None:
    events = CHAT if number < len(CHAT) else [*CHAT[:3], CHAT_FAILURES[number - len(CHAT)]]
    _check_all(chat_completions.API, events, min(number, len(events) - 1))


def test_the_answers_that_are_changed_are_whole_ones() -> None:
    for api, events in ((responses_api.API, RESPONSES), (chat_completions.API, CHAT)):
        chunks = _chunks(api, events)
        assert chunks is not None
        assert chunks[-1] == TokenUsage(100, 10, 20, 5, 120, "r")
        assert sum(isinstance(chunk, Closed) for chunk in chunks) >= 4


def _check_all(api: Any, events: list[Any], number: int) -> None:
    for changed in one_member_changed(events[number]):
        whole = [*events[:number], changed, *events[number + 1 :]]
        for chunk in _chunks(api, whole) or ():
            assert _is_well_formed(chunk), (changed, chunk)


def _chunks(api: Any, events: list[Any]) -> list[Chunk] | None:
    """Return the chunks of an answer; None: it failed as a turn may try again, or with what the server said."""
    found: list[Chunk] = []
    try:
        found.extend(api.chunks(Events(json.loads(json.dumps(events))), prompt_of("hi")))
    except ModelError:
        return None
    return found


def _is_well_formed(chunk: Chunk) -> bool:
    match chunk:
        case TextDelta(text):
            return isinstance(text, str)
        case SummaryDelta(index, text) | ReasoningDelta(index, text):
            return isinstance(text, str) and _is_index(index)
        case SummaryPart(index):
            return _is_index(index)
        case TokenUsage():
            counts = [chunk.input_tokens, chunk.cached_input_tokens, chunk.output_tokens, chunk.total_tokens]
            counts.append(chunk.reasoning_output_tokens)
            is_id = chunk.response_id is None or isinstance(chunk.response_id, str)
            return is_id and all(type(count) is int and 0 <= count <= 2 * MAX_TOKENS for count in counts)
        case Opened(kind):
            return kind in ("message", "reasoning")
        case SearchOpened(search_id):
            return isinstance(search_id, str)
        case Closed(item):
            return _is_item(item)
    return False


def _is_index(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_item(item: Any) -> bool:
    """Return whether the history may keep an item, by the rules for items from outside."""
    if item["type"] == "web_search_call":
        return True  # kept as it is, and read by of_provider, which takes anything
    return bool(checked(item, "item") == item)


def test_calls_whose_numbers_are_texts_are_not_mixed() -> None:
    def fragment(index: str, **members: Any) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": index, **members}]}}]}

    begun = [fragment(str(n), id=f"c{n}", function={"name": "exec_command", "arguments": "{"}) for n in (0, 1)]
    ended = [fragment(str(n), function={"arguments": f'"cmd": "{n}"}}'}) for n in (0, 1)]

    chunks = _chunks(chat_completions.API, [*begun, *ended, CHAT[6]])

    items = [chunk.item for chunk in chunks or () if isinstance(chunk, Closed)]
    assert [item.get("arguments") for item in items] == ['{"cmd": "0"}', '{"cmd": "1"}']
