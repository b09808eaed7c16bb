from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import ModelError
from tests.support.model_server import YIELD_MS, ModelServer
from tests.workers.models.asking import prompt_of, provider_of, user
from workers.control.signal import Signal, StopReason
from workers.models import chat_completions
from workers.models.chat_completions import messages
from workers.models.chunks import Chunk, Closed, Opened, Prompt, ReasoningDelta, TextDelta, TokenUsage
from workers.models.http_model import HttpModel

LS = json.dumps({"cmd": "ls", "yield_time_ms": YIELD_MS})  # of [[run ls]]


def ask(server: ModelServer, prompt: Prompt) -> list[Chunk]:
    return list(HttpModel(provider_of(server, wire_api="chat"), chat_completions.API).stream(prompt, Signal()))


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
    return f"[[raw {json.dumps({'choices': [{'delta': delta, 'finish_reason': finish_reason}]})}]]"


def closed(chunks: list[Chunk]) -> list[dict[str, Any]]:
    return [chunk.item for chunk in chunks if isinstance(chunk, Closed)]


def message(role: str, text: str) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "x", "arguments": arguments}


def output(call_id: str, text: Any = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def test_text_and_reasoning_stream_and_are_counted(server: ModelServer) -> None:
    chunks = ask(server, prompt_of("[[think well then]][[say hello you]]"))

    content = [{"type": "reasoning_text", "text": "well then"}]
    assert chunks == [
        Opened("reasoning"),
        ReasoningDelta(0, "well "),
        ReasoningDelta(0, "then"),
        Closed({"type": "reasoning", "summary": [], "content": content}),
        Opened("message"),
        TextDelta("hello "),
        TextDelta("you"),
        Closed(message("assistant", "hello you")),
        TokenUsage(100, 10, 20, 5, 120, "resp_1"),
    ]


def test_reasoning_between_tags_is_no_text_of_the_answer(server: ModelServer) -> None:
    script = chunk({"content": "<thi"}) + chunk({"content": "nk>why</think>"}) + chunk({"content": "so"}, "stop")

    reasoning, answer = closed(ask(server, prompt_of(script)))

    assert reasoning["content"] == [{"type": "reasoning_text", "text": "why"}]
    assert answer == message("assistant", "so")


def test_a_call_without_a_name_gets_one_that_no_tool_has(server: ModelServer) -> None:
    fragment = {"index": 0, "id": "c", "function": {"arguments": "{}"}}

    (made,) = closed(ask(server, prompt_of(chunk({"tool_calls": [fragment]}, "tool_calls"))))

    assert made["name"] == "nameless"


@pytest.mark.parametrize("size", [1, 7])
def test_deltas_split_across_writes_arrive_whole(server: ModelServer, size: int) -> None:
    chunks = ask(server, prompt_of(f"[[split {size}]][[say grüße 🙂 x]]"))

    assert [chunk.text for chunk in chunks if isinstance(chunk, TextDelta)] == ["grüße ", "🙂 ", "x"]


def test_calls_are_joined_from_fragments_and_their_outputs_continue_the_script(server: ModelServer) -> None:
    script = '[[say look]][[run ls]]+[[tool x {"n": 1}]][[patch *** Begin Patch\n"]][[say done]]'
    first = closed(ask(server, prompt_of(script)))
    second = closed(ask(server, prompt_of(script, *first, output("call_1"), output("call_2"))))
    patched = {"type": "custom_tool_call_output", "call_id": "call_3", "output": "ok"}
    third = ask(server, prompt_of(script, *first, output("call_1"), output("call_2"), *second, patched))

    assert first == [
        message("assistant", "look"),
        {"type": "function_call", "call_id": "call_1", "name": "exec_command", "arguments": LS},
        {"type": "function_call", "call_id": "call_2", "name": "x", "arguments": '{"n": 1}'},
    ]
    assert second == [
        {"type": "custom_tool_call", "call_id": "call_3", "name": "apply_patch", "input": '*** Begin Patch\n"'}
    ]
    assert third[1] == TextDelta("done")


def test_missing_ids_and_counts_are_replaced(server: ModelServer) -> None:
    chunks = ask(server, prompt_of("[[bare]][[run ls]]+[[run pwd]]"))

    ids = [item["call_id"] for item in closed(chunks)]
    assert len(ids) == len(set(ids)) == 2
    assert all(ids)
    assert chunks[-1] == TokenUsage(response_id="resp_1")


def test_call_ids_that_repeat_in_the_thread_are_replaced(server: ModelServer) -> None:
    fragment = {"index": 0, "id": "call_0", "function": {"name": "x", "arguments": "{}"}}
    chunks = ask(server, prompt_of("hi", call("call_0"), output("call_0"), chunk({"tool_calls": [fragment]})))

    (item,) = closed(chunks)
    assert item["call_id"] not in ("", "call_0")


@pytest.mark.parametrize("index", [{"index": 0}, {}])
def test_complete_calls_with_one_index_are_separated_by_their_ids(server: ModelServer, index: dict[str, int]) -> None:
    fragments = [
        {**index, "id": f"c{number}", "function": {"name": "x", "arguments": f'{{"n": {number}}}'}} for number in (1, 2)
    ]
    chunks = ask(server, prompt_of("".join(chunk({"tool_calls": [fragment]}) for fragment in fragments)))

    assert [item["arguments"] for item in closed(chunks)] == ['{"n": 1}', '{"n": 2}']


def test_fragments_without_an_index_belong_to_the_last_call(server: ModelServer) -> None:
    fragments: list[dict[str, Any]] = [
        {"id": "c1", "function": {"name": "x", "arguments": '{"n"'}},
        {"function": {"arguments": ": 1}"}},
    ]
    chunks = ask(server, prompt_of("".join(chunk({"tool_calls": [fragment]}) for fragment in fragments)))

    assert [item["arguments"] for item in closed(chunks)] == ['{"n": 1}']


def test_freeform_input_that_is_no_json_object_is_used_as_it_is(server: ModelServer) -> None:
    fragment = {"index": 0, "id": "c", "function": {"name": "apply_patch", "arguments": "*** Begin Patch"}}
    chunks = ask(server, prompt_of(chunk({"tool_calls": [fragment]})))

    assert closed(chunks)[0]["input"] == "*** Begin Patch"


@pytest.mark.parametrize(
    ("script", "info", "retryable"),
    [
        ("[[say a]][[incomplete max_output_tokens]]", "other", False),
        ("[[say a]][[incomplete content_filter]]", "other", False),
        ("[[say a]][[drop]]", "other", True),
        ("[[say a]][[close]]", "other", True),
        ("[[garbage]]", "other", True),
        ("[[fail context_length_exceeded too long]]", "contextWindowExceeded", False),
        ("[[fail server_error broken]]", "other", True),
        ("[[status 500]]", "internalServerError", True),
        ("[[status 400 the request exceeds the available context size]]", "contextWindowExceeded", False),
    ],
)
def test_failures_map_to_the_errors_of_the_protocol(
    server: ModelServer, script: str, info: str, retryable: bool
) -> None:
    with pytest.raises(ModelError) as caught:
        ask(server, prompt_of(script))

    assert (caught.value.info, caught.value.retryable) == (info, retryable)


def test_text_before_a_token_limit_is_kept(server: ModelServer) -> None:
    chunks: list[Chunk] = []
    model = HttpModel(provider_of(server), chat_completions.API)

    with pytest.raises(ModelError):
        chunks.extend(model.stream(prompt_of("[[say so far]][[incomplete max_output_tokens]]"), Signal()))

    assert closed(chunks) == [message("assistant", "so far")]


def test_stop_request_ends_the_stream_without_usage(server: ModelServer) -> None:
    signal = Signal()
    model = HttpModel(provider_of(server), chat_completions.API)
    chunks = model.stream(prompt_of("[[say a]][[pause p]][[say b]]"), signal)

    assert [next(chunks), next(chunks)] == [Opened("message"), TextDelta("a")]
    signal.request(StopReason.INTERRUPT)

    assert list(chunks) == []
    server.wait_hung_up("p")


def test_request_has_functions_only_and_asks_for_token_counts(server: ModelServer) -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}}
    ask(server, prompt_of("hi", effort="low", output_schema=schema))

    body = server.requests[0].body
    assert server.requests[0].path == "/v1/chat/completions"
    assert body["stream_options"] == {"include_usage": True}
    assert body["reasoning_effort"] == "low"
    assert body["response_format"]["json_schema"]["schema"] == schema
    assert [tool["function"]["name"] for tool in body["tools"]] == ["exec_command", "apply_patch"]
    patch = body["tools"][1]["function"]
    assert patch["parameters"]["properties"] == {"input": {"type": "string"}}
    assert "start: PATCH" in patch["description"]


def test_leading_instructions_become_one_system_message_and_later_ones_do_not() -> None:
    chat = messages([message("developer", "a"), message("system", "b"), user("c"), message("developer", "d")])

    assert chat == [
        {"role": "system", "content": "a\n\nb"},
        {"role": "user", "content": "c\n\nd"},
    ]


def test_every_call_is_followed_by_its_output_whatever_stood_between() -> None:
    reasoning = {"type": "reasoning", "summary": []}
    chat = messages(
        [
            user("go"),
            message("assistant", "look"),
            call("a"),
            reasoning,
            call("b"),
            output("b", "B"),
            user("be brief"),
            output("a", [{"type": "input_text", "text": "A"}]),
            call("c"),
            output("c"),
        ]
    )

    assert [(one["role"], one["content"]) for one in chat] == [
        ("user", "go"),
        ("assistant", "look"),
        ("tool", "A"),
        ("tool", "B"),
        ("user", "be brief"),
        ("assistant", ""),
        ("tool", "ok"),
    ]
    assert [made["id"] for made in chat[1]["tool_calls"]] == ["a", "b"]


def test_only_a_message_with_an_image_consists_of_parts() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    texts = [{"type": "input_text", "text": "one"}, {"type": "input_text", "text": "two"}]
    chat = messages(
        [{**user(""), "content": texts}, message("assistant", "so"), {**user(""), "content": [*texts, image]}]
    )

    assert chat[0]["content"] == "one\n\ntwo"
    assert [part["type"] for part in chat[2]["content"]] == ["text", "text", "image_url"]


def test_images_of_a_tool_follow_as_a_user_message() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}
    chat = messages([call("a"), output("a", [image])])

    assert chat[1] == {"role": "tool", "tool_call_id": "a", "content": "The image follows."}
    assert chat[2]["role"] == "user"
    assert chat[2]["content"][1] == {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}


def test_arguments_that_are_no_json_do_not_fail_later_requests(server: ModelServer) -> None:
    ask(server, prompt_of("hi", call("a", '{"cmd": "l'), output("a"), "more"))

    arguments = server.requests[0].body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"invalid_json": '{"cmd": "l'}


def test_call_without_output_gets_an_empty_one() -> None:
    assert messages([call("a")])[1]["content"] == "(no output)"
