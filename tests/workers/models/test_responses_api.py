from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.model_server import YIELD_MS, ModelServer
from tests.workers.models.asking import prompt_of, provider_of
from workers.control.signal import Signal
from workers.models import responses_api
from workers.models.chunks import (
    Chunk,
    Closed,
    Opened,
    Prompt,
    ReasoningDelta,
    SummaryDelta,
    SummaryPart,
    TextDelta,
    TokenUsage,
)
from workers.models.http_model import HttpModel

LS = json.dumps({"cmd": "ls", "yield_time_ms": YIELD_MS})  # of [[run ls]]
COUNTS = TokenUsage(100, 10, 20, 5, 120, "resp_1")


def ask(server: ModelServer, prompt: Prompt) -> list[Chunk]:
    return list(HttpModel(provider_of(server), responses_api.API).stream(prompt, Signal()))


def message(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def test_message_opens_streams_closes_and_is_counted(server: ModelServer) -> None:
    chunks = ask(server, prompt_of("hello you"))

    assert chunks == [
        Opened("message"),
        *(TextDelta(text) for text in ("You ", "said: ", "hello ", "you")),
        Closed(message("You said: hello you")),
        COUNTS,
    ]


@pytest.mark.parametrize("size", [1, 7, 50])
def test_deltas_split_across_writes_arrive_whole(server: ModelServer, size: int) -> None:
    chunks = ask(server, prompt_of(f"[[split {size}]][[say grüße 🙂 x]]"))

    assert [chunk.text for chunk in chunks if isinstance(chunk, TextDelta)] == ["grüße ", "🙂 ", "x"]


def test_request_equals_that_of_the_original(server: ModelServer) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    ask(server, prompt_of("hi", effort="low", summary="auto", output_schema=schema))

    request = server.requests[0]
    body = request.body
    assert request.path == "/v1/responses"
    assert request.headers["accept"] == "text/event-stream"
    assert request.headers["originator"] == "threadhouse"
    assert request.headers["session-id"] == request.headers["thread-id"] == "thread-1"
    assert request.headers["x-client-request-id"] == "turn-1"
    assert "authorization" not in request.headers
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["include"] == ["reasoning.encrypted_content"]
    assert body["prompt_cache_key"] == "thread-1"
    assert body["store"] is False
    assert body["text"]["format"] == {"type": "json_schema", "name": "output", "strict": True, "schema": schema}
    assert "instructions" not in body


def test_reasoning_streams_its_summary_and_keeps_its_encrypted_content(server: ModelServer) -> None:
    chunks = ask(server, prompt_of("[[reason first|second]][[say hi]]"))

    summary = [{"type": "summary_text", "text": "first"}, {"type": "summary_text", "text": "second"}]
    assert chunks[:6] == [
        Opened("reasoning"),
        SummaryPart(0),
        SummaryDelta(0, "first"),
        SummaryPart(1),
        SummaryDelta(1, "second"),
        Closed({"type": "reasoning", "summary": summary, "encrypted_content": "ZW5j"}),
    ]


def test_raw_reasoning_streams(server: ModelServer) -> None:
    chunks = ask(server, prompt_of("[[think well then]]"))

    content = [{"type": "reasoning_text", "text": "well then"}]
    assert chunks[:-1] == [
        Opened("reasoning"),
        ReasoningDelta(0, "well "),
        ReasoningDelta(0, "then"),
        Closed({"type": "reasoning", "summary": [], "content": content}),
    ]


def test_calls_come_closed_and_their_outputs_continue_the_script(server: ModelServer) -> None:
    script = '[[say look]][[run ls]]+[[tool view {"n": [[1]]}]][[patch *** Begin Patch]][[say done]]'
    first = ask(server, prompt_of(script))
    calls = [chunk.item for chunk in first if isinstance(chunk, Closed)]
    outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": "ok"} for call in calls[1:]]
    second = ask(server, prompt_of(script, *calls, *outputs))
    patch = next(chunk.item for chunk in second if isinstance(chunk, Closed))
    patched = {"type": "custom_tool_call_output", "call_id": patch["call_id"], "output": "ok"}
    third = ask(server, prompt_of(script, *calls, *outputs, patch, patched))

    assert calls == [
        message("look"),
        {"type": "function_call", "call_id": "call_1", "name": "exec_command", "arguments": LS},
        {"type": "function_call", "call_id": "call_2", "name": "view", "arguments": '{"n": [[1]]}'},
    ]
    assert patch == {
        "type": "custom_tool_call",
        "call_id": "call_3",
        "name": "apply_patch",
        "input": "*** Begin Patch",
    }
    assert third[1] == TextDelta("done")


def test_unannounced_items_open_at_their_first_delta(server: ModelServer) -> None:
    chunks = ask(server, prompt_of("[[bare]][[reason why]][[say hello]][[run ls]]"))

    assert chunks == [
        Opened("reasoning"),
        SummaryPart(0),
        SummaryDelta(0, "why"),
        Closed({"type": "reasoning", "summary": [{"type": "summary_text", "text": "why"}]}),
        Opened("message"),
        TextDelta("hello"),
        Closed(message("hello")),
        Closed({"type": "function_call", "call_id": "call_1", "name": "exec_command", "arguments": LS}),
        COUNTS,
    ]


def test_answer_that_only_comes_with_the_end_is_kept(server: ModelServer) -> None:
    done = (
        '{"type": "response.completed", "response": {"output": [{"type": "message", "content": [{"text": "late"}]}]}}'
    )
    chunks = ask(server, prompt_of(f"[[raw {done}]]"))

    assert chunks == [Opened("message"), Closed(message("late")), TokenUsage()]


def test_incomplete_call_is_dropped(server: ModelServer) -> None:
    item = '{"type": "function_call", "status": "incomplete", "call_id": "c", "name": "x", "arguments": "{"}'
    chunks = ask(server, prompt_of(f'[[raw {{"type": "response.output_item.done", "item": {item}}}]][[say hi]]'))

    assert [chunk.item for chunk in chunks if isinstance(chunk, Closed)] == [message("hi")]


def test_call_ids_that_repeat_in_the_thread_are_replaced(server: ModelServer) -> None:
    raw = (
        '[[raw {"type": "response.output_item.done", "item": '
        '{"type": "function_call", "call_id": "old", "name": "x", "arguments": "{}"}}]]'
    )
    call = {"type": "function_call", "call_id": "old", "name": "x", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "old", "output": ""}
    chunks = ask(server, prompt_of("hi", call, output, raw))

    (made,) = [chunk.item for chunk in chunks if isinstance(chunk, Closed)]
    assert made["call_id"] not in ("", "old")


def test_unknown_events_are_ignored(server: ModelServer) -> None:
    chunks = ask(server, prompt_of('[[raw {"type": "response.queued"}]][[raw {"n": 1}]][[say hi]]'))

    assert TextDelta("hi") in chunks


def test_refusals_are_text(server: ModelServer) -> None:
    chunks = ask(server, prompt_of('[[raw {"type": "response.refusal.delta", "delta": "no"}]]'))

    assert chunks[:-1] == [Opened("message"), TextDelta("no"), Closed(message("no"))]


def test_characters_that_no_database_can_store_are_replaced(server: ModelServer) -> None:
    raw = r'[[raw {"type": "response.output_text.delta", "delta": "a\u0000b\ud800c"}]]'
    chunks = ask(server, prompt_of(raw))

    assert chunks[1] == TextDelta("a\ufffdb\ufffdc")
