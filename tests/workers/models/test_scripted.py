from __future__ import annotations

import json
from typing import Any

from tests.workers.models.asking import EXEC_COMMAND, prompt_of
from workers.agent.signal import Signal, Why
from workers.models.chunks import Chunk, Closed, Opened, Prompt, TextDelta, Usage
from workers.models.scripted import INTRODUCTION, ScriptedModel

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


def said(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks if isinstance(chunk, TextDelta))


def ran(call_id: str, cmd: str, told: str) -> list[dict[str, Any]]:
    arguments = json.dumps({"cmd": cmd})
    return [
        {"type": "function_call", "call_id": call_id, "name": "exec_command", "arguments": arguments},
        {"type": "function_call_output", "call_id": call_id, "output": told},
    ]


def test_it_says_plainly_what_it_is_and_how_to_configure_a_model() -> None:
    chunks = ask("hello")

    text = said(chunks)
    assert "not a language model" in text
    assert "config.toml" in text
    assert chunks[0] == Opened("message")
    assert sum(isinstance(chunk, TextDelta) for chunk in chunks) > 5
    closed = next(chunk.item for chunk in chunks if isinstance(chunk, Closed))
    assert closed["content"] == [{"type": "output_text", "text": text}]
    assert chunks[-1] == Usage()
    assert ask("hello") == chunks


def test_a_dollar_sign_runs_the_rest() -> None:
    chunks = ask("<environment_context>x</environment_context>", "$ ls -l")

    ((name, arguments),) = calls(chunks)
    assert (name, arguments["cmd"]) == ("exec_command", "ls -l")
    assert said(chunks) == ""


def test_it_says_what_came_out() -> None:
    chunks = ask("$ ls", *ran("call_1", "ls", OUTPUT.format(code=3, text="one\ntwo\n")))

    assert said(chunks) == "The command exited with code 3 and printed:\n\none\ntwo"
    assert calls(chunks) == []


def test_long_output_is_told_briefly() -> None:
    chunks = ask("$ x", *ran("call_1", "x", OUTPUT.format(code=0, text="y" * 100_000)))

    assert len(said(chunks)) < 1000
    assert "100000 characters" in said(chunks)


def test_an_outcome_that_is_unknown_is_told_as_it_is() -> None:
    chunks = ask("$ ls", *ran("call_1", "ls", "started, outcome unknown: the worker was lost"))

    assert "outcome unknown" in said(chunks)


def test_a_command_that_goes_on_is_waited_for() -> None:
    first = ask("$ sleep 99", *ran("call_1", "sleep 99", RUNNING.format(session=7)))
    waiting = {"type": "function_call", "call_id": "call_2", "name": "write_stdin", "arguments": '{"session_id": 7}'}
    ended = {"type": "function_call_output", "call_id": "call_2", "output": OUTPUT.format(code=0, text="")}
    second = ask("$ sleep 99", *ran("call_1", "sleep 99", RUNNING.format(session=7)), waiting, ended)

    assert [(name, arguments["session_id"]) for name, arguments in calls(first)] == [("write_stdin", 7)]
    assert calls(second) == []
    assert said(second) == "The command exited with code 0 and printed nothing."


def test_steering_during_a_command_is_answered_after_it() -> None:
    done = ran("call_1", "a", OUTPUT.format(code=0, text=""))

    command = ask("$ a", *done, "$ b")
    words = ask("$ a", *done, "be brief")

    assert [arguments["cmd"] for _, arguments in calls(command)] == ["b"]
    assert "exited with code 0" in said(command)
    assert said(words) == f"The command exited with code 0 and printed nothing.\n\n{INTRODUCTION}"


def test_commands_that_were_typed_together_all_run_under_ids_of_their_own() -> None:
    said_before = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}
    chunks = ask("$ a", *ran("call_1", "a", OUTPUT.format(code=0, text="")), said_before, "$ b", "$ c")

    made = [chunk.item for chunk in chunks if isinstance(chunk, Closed)]
    assert [item["call_id"] for item in made] == ["call_2", "call_3"]
    assert [arguments["cmd"] for _, arguments in calls(chunks)] == ["b", "c"]


def test_without_a_shell_it_says_so() -> None:
    assert "no exec_command tool" in said(ask("$ ls", tools=[]))


def test_a_title_thread_gets_its_title() -> None:
    title = {"type": "string", "minLength": 1, "maxLength": 36}
    schema = {"type": "object", "properties": {"title": title}, "required": ["title"], "additionalProperties": False}
    for typed in ("$ echo a very long command line that is no title", "fix it", ""):
        text = said(ask(f"Generate a title.\n\nUser prompt:\n{typed}", output_schema=schema))

        answer = json.loads(text)
        assert list(answer) == ["title"]
        assert 1 <= len(answer["title"]) <= 36
        assert answer["title"] == (typed or "Scripted model")[:36]


def test_a_call_ends_the_answer_without_usage() -> None:
    signal = Signal()
    prompt: Prompt = prompt_of("hello")
    chunks = ScriptedModel().stream(prompt, signal)

    next(chunks)
    next(chunks)
    signal.call(Why.DRAIN)

    assert list(chunks) == []
