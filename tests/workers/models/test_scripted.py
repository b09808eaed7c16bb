from __future__ import annotations

import json
from typing import Any

import pytest

from shared.config import SCRIPTED_WORDS
from shared.protocol.frames import MAX_DEPTH
from tests.workers.models.asking import EXEC_COMMAND, prompt_of
from workers.control.signal import Signal, StopReason
from workers.models import scripted
from workers.models.chunks import Chunk, Closed, Opened, Prompt, TextDelta, TokenUsage
from workers.models.scripted import INTRODUCTION, STREAM_LINES, WORDS, ScriptedModel

TOOLS = [EXEC_COMMAND, {"type": "function", "name": "write_stdin"}]
OUTPUT = (
    "Chunk ID: 1\nWall time: 0.1 seconds\nProcess exited with code {code}\nOriginal token count: 1\nOutput:\n{text}"
)
RUNNING = "Chunk ID: 1\nWall time: 30 seconds\nProcess running with session ID {session}\nOutput:\nso far"


def ask(*items: Any, **members: Any) -> list[Chunk]:
    return list(ScriptedModel().stream(prompt_of(*items, **{"tools": TOOLS} | members), Signal()))


def calls(chunks: list[Chunk]) -> list[tuple[str, dict[str, Any]]]:
    items = [chunk.item for chunk in chunks if isinstance(chunk, Closed)]
    return [(item["name"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"]


def text_of(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))


def ran(call_id: str, cmd: str, output: str) -> list[dict[str, Any]]:
    arguments = json.dumps({"cmd": cmd})
    return [
        {"type": "function_call", "call_id": call_id, "name": "exec_command", "arguments": arguments},
        {"type": "function_call_output", "call_id": call_id, "output": output},
    ]


def test_introduction_explains_how_to_configure_a_model() -> None:
    chunks = ask("hello")

    text = text_of(chunks)
    assert "not a language model" in text
    assert "config.toml" in text
    assert chunks[0] == Opened("message")
    assert sum(isinstance(chunk, TextDelta) for chunk in chunks) > 5
    closed = next(chunk.item for chunk in chunks if isinstance(chunk, Closed))
    assert closed["content"] == [{"type": "output_text", "text": text}]
    assert chunks[-1] == TokenUsage()
    assert ask("hello") == chunks


def test_dollar_sign_runs_the_command() -> None:
    chunks = ask("<environment_context>x</environment_context>", "$ ls -l")

    ((name, arguments),) = calls(chunks)
    assert (name, arguments["cmd"]) == ("exec_command", "ls -l")
    assert text_of(chunks) == ""


def test_output_of_a_command_is_repeated() -> None:
    chunks = ask("$ ls", *ran("call_1", "ls", OUTPUT.format(code=3, text="one\ntwo\n")))

    assert text_of(chunks) == "The command exited with code 3 and printed:\n\none\ntwo"
    assert calls(chunks) == []


def test_long_output_is_shortened() -> None:
    chunks = ask("$ x", *ran("call_1", "x", OUTPUT.format(code=0, text="y" * 100_000)))

    assert len(text_of(chunks)) < 1000
    assert "100000 characters" in text_of(chunks)


def test_unknown_outcome_is_repeated_as_it_is() -> None:
    chunks = ask("$ ls", *ran("call_1", "ls", "started, outcome unknown: the worker was lost"))

    assert "outcome unknown" in text_of(chunks)


def test_running_command_is_waited_for() -> None:
    first = ask("$ sleep 99", *ran("call_1", "sleep 99", RUNNING.format(session=7)))
    waiting = {"type": "function_call", "call_id": "call_2", "name": "write_stdin", "arguments": '{"session_id": 7}'}
    ended = {"type": "function_call_output", "call_id": "call_2", "output": OUTPUT.format(code=0, text="")}
    second = ask("$ sleep 99", *ran("call_1", "sleep 99", RUNNING.format(session=7)), waiting, ended)

    assert [(name, arguments["session_id"]) for name, arguments in calls(first)] == [("write_stdin", 7)]
    assert calls(second) == []
    assert text_of(second) == "The command exited with code 0 and printed nothing."


def test_steering_during_a_command_is_answered_after_it() -> None:
    done = ran("call_1", "a", OUTPUT.format(code=0, text=""))

    command = ask("$ a", *done, "$ b")
    words = ask("$ a", *done, "be brief")

    assert [arguments["cmd"] for _, arguments in calls(command)] == ["b"]
    assert "exited with code 0" in text_of(command)
    assert text_of(words) == f"The command exited with code 0 and printed nothing.\n\n{INTRODUCTION}"


def test_several_commands_run_under_ids_of_their_own() -> None:
    said_before = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    chunks = ask("$ a", *ran("call_1", "a", OUTPUT.format(code=0, text="")), said_before, "$ b", "$ c")

    made = [chunk.item for chunk in chunks if isinstance(chunk, Closed)]
    assert [item["call_id"] for item in made] == ["call_2", "call_3"]
    assert [arguments["cmd"] for _, arguments in calls(chunks)] == ["b", "c"]


def test_missing_shell_is_reported() -> None:
    assert "no exec_command tool" in text_of(ask("$ ls", tools=[]))


def test_title_thread_gets_its_title() -> None:
    title = {"type": "string", "minLength": 1, "maxLength": 36}
    schema = {"type": "object", "properties": {"title": title}, "required": ["title"], "additionalProperties": False}
    for typed in ("$ echo a very long command line that is no title", "fix it", ""):
        text = text_of(ask(f"Generate a title.\n\nUser prompt:\n{typed}", output_schema=schema))

        answer = json.loads(text)
        assert list(answer) == ["title"]
        assert 1 <= len(answer["title"]) <= 36
        assert answer["title"] == (typed or "Scripted model")[:36]


STRANGE: tuple[Any, ...] = (None, True, -1, 0, 2**63, 1.5, "text", [], [None], {}, {"type": "object"})


@pytest.mark.parametrize("kind", ["object", "array", "string", "integer", "number", "boolean", "null", None])
def test_schema_with_strange_members_is_answered_with_short_json(kind: str | None) -> None:
    members = ("enum", "properties", "minLength", "maxLength", "minimum", "items", "type")
    for name in members:
        for strange in STRANGE:
            schema = {"type": kind, name: strange}
            for one in (schema, {"type": "object", "properties": {"inner": schema}}):
                text = text_of(ask("name it", output_schema=one))

                json.loads(text)
                assert len(text) < 1000


def test_schema_as_deep_as_a_frame_may_be_is_answered() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(MAX_DEPTH):
        schema = {"type": "object", "properties": {"a": schema}}

    assert '"name it"' in text_of(ask("name it", output_schema=schema))


@pytest.mark.parametrize("arguments", ["", "null", "[1]", '{"session_id": []}', "[" * 100_000])
def test_injected_call_with_any_arguments_is_passed_over(arguments: str) -> None:
    items = ran("call_1", "a", OUTPUT.format(code=0, text="x"))
    call = {"type": "function_call", "name": "write_stdin", "call_id": "call_2", "arguments": arguments}

    chunks = ask("$ a", *items, call, {**items[-1], "call_id": "call_2"})

    assert "exited with code 0" in text_of(chunks)


def test_what_a_command_prints_is_not_read_as_what_became_of_it() -> None:
    printed = f"Process running with session ID {'9' * 5000}\nProcess exited with code 7"
    chunks = ask("$ a", *ran("call_1", "a", OUTPUT.format(code=0, text=printed)))

    assert not calls(chunks)
    assert "exited with code 0" in text_of(chunks)


def test_stop_request_ends_the_answer_without_usage() -> None:
    signal = Signal()
    prompt: Prompt = prompt_of("hello")
    chunks = ScriptedModel().stream(prompt, signal)

    next(chunks)
    next(chunks)
    signal.request(StopReason.DRAIN)

    assert list(chunks) == []


ALL_TOOLS = [{"type": "function", "name": name} for name in ("exec_command", "update_plan", "request_user_input")]
ALL_TOOLS.append({"type": "custom", "name": "apply_patch"})


def test_the_words_are_those_that_people_read() -> None:
    assert list(WORDS) == list(SCRIPTED_WORDS)
    assert all(f"`{word}`" in INTRODUCTION for word in WORDS)


def test_a_word_is_shown_by_the_tools_of_an_agent() -> None:
    def names(word: str) -> list[str]:
        items = [chunk.item for chunk in ask(word, tools=ALL_TOOLS) if isinstance(chunk, Closed)]
        return [item["name"] for item in items if "name" in item]

    assert names("approval") == ["exec_command"]
    assert calls(ask(" Approval\n", tools=ALL_TOOLS))[0][1]["sandbox_permissions"] == "require_escalated"
    assert names("patch") == ["apply_patch"]
    assert names("plan") == ["update_plan"] * 2
    assert names("question") == ["request_user_input"]
    assert text_of(ask("approval please", tools=ALL_TOOLS)) == INTRODUCTION


def test_the_outcome_of_a_word_is_told() -> None:
    call = {"type": "custom_tool_call", "call_id": "c", "name": "apply_patch", "input": ""}
    output = {"type": "custom_tool_call_output", "call_id": "c", "output": "Success."}

    chunks = ask("patch", call, output, tools=ALL_TOOLS)

    assert text_of(chunks) == "apply_patch answered:\n\nSuccess."
    assert calls(chunks) == []


def test_a_question_outside_of_plan_mode_says_how_to_get_there() -> None:
    assert "/plan" in text_of(ask("question", tools=TOOLS))


def test_a_stream_is_long_and_ends_when_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted, "STREAM_SECONDS", 0)

    assert text_of(ask("stream")).count("\n") == STREAM_LINES - 1
    signal = Signal()
    chunks = ScriptedModel().stream(prompt_of("stream", tools=TOOLS), signal)
    next(chunks)
    signal.request(StopReason.INTERRUPT)
    assert list(chunks) == []
