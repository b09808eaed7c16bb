"""The built-in model that is no language model: it answers when no provider is configured.

What it says follows from the prompt alone. It runs commands through the real tools, so that everything but the
intelligence is real: first starts, demonstrations, load runs.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from workers.models.chunks import Chunk, Closed, Opened, Prompt, TextDelta, Usage
from workers.models.output import message

if TYPE_CHECKING:
    from workers.agent.signal import Signal

COMMAND_SIGN = "$ "
WORDS_PER_DELTA = 3
YIELD_MS = 30_000  # how long a command is waited for before the model looks again
MAX_TOLD_CHARS = 600  # as much of a command's output as is repeated

INTRODUCTION = (
    "I am Threadhouse's built-in scripted model, not a language model: no model provider is configured, so I cannot "
    "answer what you wrote. To talk to a language model, set OPENAI_API_KEY, or put model, model_provider and a table "
    "[model_providers.NAME] with base_url (and wire_api) into config.toml, and start the server again. "
    "What I can do is run a command: begin a message with `$ `, for example `$ ls`."
)
NO_SHELL = "I would run that command, but this thread has no exec_command tool."

_EXIT_CODE = re.compile(r"^Process exited with code (-?\d+)", re.MULTILINE)
_SESSION_ID = re.compile(r"^Process running with session ID (\d+)", re.MULTILINE)


class ScriptedModel:
    """Answers `$ COMMAND` by running it and saying what came out, anything else by saying what it is."""

    def stream(self, prompt: Prompt, signal: Signal) -> Iterator[Chunk]:
        """The answer to one prompt; ends without Usage as soon as the signal is called."""
        text, calls = _answer(prompt) if prompt.output_schema is None else (_conforming_json(prompt), [])
        if text:
            yield Opened("message")
            for delta in _deltas(text):
                if signal.wait(0):
                    return
                yield TextDelta(delta)
            yield Closed(message(text))
        calls_before = sum(item["type"] == "function_call" for item in prompt.input)
        for number, (name, arguments) in enumerate(calls, calls_before + 1):
            call = {"type": "function_call", "name": name, "call_id": f"call_{number}"}
            yield Closed({**call, "arguments": json.dumps(arguments)})
        if not signal.wait(0):
            yield Usage()


def _answer(prompt: Prompt) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """What to say and which tools to call, looking only at what came after the last word of ours."""
    news = _after(prompt.input, lambda item: item.get("role") == "assistant")
    asked = [
        _text(item["content"])
        for item in _after(news, lambda item: "call" in item["type"])
        if item.get("role") == "user"
    ]
    commands = [text[len(COMMAND_SIGN) :].strip() for text in asked if text.startswith(COMMAND_SIGN)]
    tools = {tool.get("name") for tool in prompt.tools}
    ended, running = _outcomes(news)
    said = [_told(output) for output in ended]
    calls: list[tuple[str, dict[str, Any]]] = []
    if "write_stdin" in tools:
        calls += [
            ("write_stdin", {"session_id": session, "chars": "", "yield_time_ms": YIELD_MS}) for session in running
        ]
    if "exec_command" in tools:
        calls += [("exec_command", {"cmd": command, "yield_time_ms": YIELD_MS}) for command in commands if command]
    elif commands:
        said.append(NO_SHELL)
    wants_an_answer = bool(asked) and not asked[-1].startswith(COMMAND_SIGN)
    if wants_an_answer or not (said or calls):
        said.append(INTRODUCTION)
    return "\n\n".join(said), calls


def _outcomes(items: list[dict[str, Any]]) -> tuple[list[str], list[int]]:
    """The outputs of commands that have ended, and the sessions of those that still run."""
    ended: list[str] = []
    running: list[int] = []
    waited_for: dict[str, int] = {}  # call_id of a write_stdin → its session
    for item in items:
        if item["type"] == "function_call" and item["name"] == "write_stdin":
            waited_for[item["call_id"]] = json.loads(item["arguments"]).get("session_id", 0)
        elif item["type"] == "function_call_output":
            output = _text(item["output"])
            session = waited_for.get(item["call_id"])
            if session in running:
                running.remove(session)
            if match := _SESSION_ID.search(output):
                running.append(int(match[1]))
            else:
                ended.append(output)
    return ended, running


def _after(items: list[dict[str, Any]], matches: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The items behind the last one that matches."""
    return list(itertools.takewhile(lambda item: not matches(item), reversed(items)))[::-1]


def _text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if "text" in part)


def _told(output: str) -> str:
    """A command's outcome in a few words."""
    exit_code = _EXIT_CODE.search(output)
    if exit_code is None:
        return f"The command did not run to its end:\n\n{_shortened(output)}"
    _, _, printed = output.partition("Output:\n")
    ending = f"The command exited with code {exit_code[1]}"
    return f"{ending} and printed:\n\n{_shortened(printed)}" if printed.strip() else f"{ending} and printed nothing."


def _shortened(text: str) -> str:
    text = text.strip("\n")
    return text if len(text) <= MAX_TOLD_CHARS else f"{text[:MAX_TOLD_CHARS]}\n… ({len(text)} characters in all)"


def _deltas(text: str) -> Iterator[str]:
    words = re.findall(r"\s*\S+\s*?(?=\s|$)|\s+$", text)
    for at in range(0, len(words), WORDS_PER_DELTA):
        yield "".join(words[at : at + WORDS_PER_DELTA])


def _asked(items: list[dict[str, Any]]) -> str:
    """The first line that the person wrote last; the title prompt of clients quotes it behind "User prompt:"."""
    texts = [_text(item["content"]) for item in items if item.get("role") == "user"]
    lines = (texts[-1] if texts else "").rpartition("User prompt:\n")[2].strip().splitlines()
    return lines[0] if lines else ""


def _conforming_json(prompt: Prompt) -> str:
    return json.dumps(_conforming(prompt.output_schema or {}, _asked(prompt.input)), ensure_ascii=False)


def _conforming(schema: dict[str, Any], text: str) -> Any:
    """A value that follows a simple schema, its strings made of the text."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _conforming(inner, text) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "null":
            return None
    return (text or "Scripted model").ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
