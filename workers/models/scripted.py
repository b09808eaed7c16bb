"""The built-in model that is not a language model: it answers when no provider is configured.

Its answers follow from the prompt alone. It uses the real tools, so that everything but the intelligence is real: first
starts, demonstrations (WORDS), load runs.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shared.config import SCRIPTED_WORDS
from shared.protocol.model_items import ContentPart, CustomToolCall, FunctionCall, ModelItem
from workers.models.chunks import Chunk, Closed, Opened, Prompt, TextDelta, TokenUsage
from workers.models.output import message

if TYPE_CHECKING:
    from workers.control.signal import Signal

Call = tuple[str, Mapping[str, object] | str]  # name of a tool, arguments; a text for a freeform tool

COMMAND_SIGN = "$ "
WORDS_PER_DELTA = 3
YIELD_MS = 30_000  # how long a command is waited for before the model looks again
MAX_REPEATED_CHARACTERS = 600  # of a command's output

INTRODUCTION = (
    "I am Threadhouse's built-in scripted model, not a language model: no model provider is configured, so I cannot "
    "answer what you wrote. To talk to a language model, set OPENAI_API_KEY, or put model, model_provider and a table "
    "[model_providers.NAME] with base_url (and wire_api) into config.toml, and start the server again. "
    "What I can do is run a command: begin a message with `$ `, for example `$ ls`. "
    "And I show what an agent does, when a message is only one of these words: "
    + "; ".join(f"`{word}` ({meaning})" for word, meaning in SCRIPTED_WORDS.items())
    + "."
)
NO_TOOL = "I would use a tool for that, but this thread has no {} tool."
NO_QUESTION = "I may ask questions in plan mode only: switch to it (in the TUI with /plan), and write `question` again."
STREAM_LINES = 300
STREAM_SECONDS = 0.02  # between two deltas of a long text
DEMO_FILE = "threadhouse-demo.txt"
STEPS = ("Read the code", "Change it", "Run the tests")
# Word → the calls that show it. A message that is only this word is answered with them.
WORDS: Mapping[str, Sequence[Call]] = {
    "approval": [
        (
            "exec_command",
            {
                "cmd": "uname -a",
                "sandbox_permissions": "require_escalated",
                "justification": "May I run this outside of the sandbox, to show you an approval?",
                "yield_time_ms": YIELD_MS,
            },
        )
    ],
    "patch": [("apply_patch", f"*** Begin Patch\n*** Add File: {DEMO_FILE}\n+one\n+two\n*** End Patch\n")],
    "plan": [
        (
            "update_plan",
            {"plan": [{"step": step, "status": status} for step, status in zip(STEPS, states, strict=True)]},
        )
        for states in (("in_progress", "pending", "pending"), ("completed", "in_progress", "pending"))
    ],
    "question": [
        (
            "request_user_input",
            {
                "questions": [
                    {
                        "id": "color",
                        "header": "Color",
                        "question": "Which color do you prefer?",
                        "options": [
                            {"label": "Green", "description": "Calm"},
                            {"label": "Red", "description": "Lively"},
                        ],
                    }
                ]
            },
        )
    ],
    "stream": [],
}

LONG_TEXT = "\n".join(f"Line {number} of {STREAM_LINES} of a long answer." for number in range(1, STREAM_LINES + 1))

_EXIT_CODE = re.compile(r"^Process exited with code (-?\d{1,9})", re.MULTILINE)
_SESSION_ID = re.compile(r"^Process running with session ID (\d{1,9})", re.MULTILINE)


class ScriptedModel:
    """Runs the command of `$ COMMAND` and repeats its output, shows what WORDS say, or introduces itself."""

    def stream(self, prompt: Prompt, signal: Signal) -> Iterator[Chunk]:
        """Yield the answer to a prompt; ends without TokenUsage as soon as a stop is requested."""
        text, calls = _answer(prompt) if prompt.output_schema is None else (_conforming_json(prompt), [])
        if text:
            yield Opened("message")
            pause_seconds = STREAM_SECONDS if text == LONG_TEXT else 0
            for delta in _deltas(text):
                if signal.wait(pause_seconds):
                    return
                yield TextDelta(delta)
            yield Closed(message(text))
        calls_before = sum(item["type"] in ("function_call", "custom_tool_call") for item in prompt.input)
        for number, (name, arguments) in enumerate(calls, calls_before + 1):
            yield Closed(_call(f"call_{number}", name, arguments))
        if not signal.wait(0):
            yield TokenUsage()


def _answer(prompt: Prompt) -> tuple[str, list[Call]]:
    """Return the text and the calls of an answer; reads only what came after the model's last message."""
    new_items = _after(prompt.input, lambda item: item.get("role") == "assistant")
    requests = [
        _text(item["content"])
        for item in _after(new_items, lambda item: "call" in item["type"])
        if item["type"] == "message" and item["role"] == "user"
    ]
    tools = {tool.get("name") for tool in prompt.tools}
    reports, running = _outcomes(new_items)
    calls: list[Call] = []
    if "write_stdin" in tools:
        calls += [
            ("write_stdin", {"session_id": session, "chars": "", "yield_time_ms": YIELD_MS}) for session in running
        ]
    texts = list(reports)
    for request in requests:
        wanted = _wanted(request)
        missing = next((name for name, _ in wanted or () if name not in tools), None)
        if missing is not None:
            texts.append(NO_QUESTION if missing == "request_user_input" else NO_TOOL.format(missing))
        elif wanted == WORDS["stream"]:
            texts.append(LONG_TEXT)
        else:
            calls += wanted or ()
    is_unknown = bool(requests) and _wanted(requests[-1]) is None
    if is_unknown or not (texts or calls):
        texts.append(INTRODUCTION)
    return "\n\n".join(texts), calls


def _wanted(request: str) -> Sequence[Call] | None:
    """Return the calls that a message asks for. None: it asks for none that this model knows."""
    if request.startswith(COMMAND_SIGN):
        command = request[len(COMMAND_SIGN) :].strip()
        return [("exec_command", {"cmd": command, "yield_time_ms": YIELD_MS})] if command else None
    return WORDS.get(request.strip().lower())


def _call(call_id: str, name: str, arguments: Mapping[str, object] | str) -> FunctionCall | CustomToolCall:
    if isinstance(arguments, str):
        return CustomToolCall(type="custom_tool_call", name=name, call_id=call_id, input=arguments)
    return FunctionCall(type="function_call", name=name, call_id=call_id, arguments=json.dumps(arguments))


def _outcomes(items: Sequence[ModelItem]) -> tuple[list[str], list[int]]:
    """Return what the calls that have ended came to, and the sessions of the commands that still run."""
    reports: list[str] = []
    running: list[int] = []
    waited_for: dict[str, int] = {}  # call_id of a write_stdin → its session
    others: dict[str, str] = {}  # call_id of a call that runs no command → its tool
    for item in items:
        if item["type"] == "function_call" and item["name"] == "write_stdin":
            waited_for[item["call_id"]] = _session_id(item["arguments"])
        elif item["type"] in ("function_call", "custom_tool_call"):
            if item["name"] != "exec_command":
                others[item["call_id"]] = item["name"]
        elif item["type"] in ("function_call_output", "custom_tool_call_output"):
            output = _text(item["output"])
            if item["call_id"] in others:
                reports.append(f"{others[item['call_id']]} answered:\n\n{_shortened(output)}")
                continue
            session = waited_for.get(item["call_id"])
            if session in running:
                running.remove(session)
            if match := _SESSION_ID.search(_header(output)):
                running.append(int(match[1]))
            else:
                reports.append(_report(output))
    return reports, running


def _session_id(arguments: str) -> int:
    """Return the session of a write_stdin, 0 without one: a client may have injected a call with any arguments."""
    try:
        members = json.loads(arguments)
    except (ValueError, RecursionError):
        return 0
    return _number(members.get("session_id"), 0) if isinstance(members, dict) else 0


def _header(output: str) -> str:
    """Return what the tool says of a command, before what the command printed."""
    return output.partition("Output:\n")[0]


def _after(items: Sequence[ModelItem], matches: Callable[[ModelItem], bool]) -> list[ModelItem]:
    """Return the items behind the last one that matches."""
    return list(itertools.takewhile(lambda item: not matches(item), reversed(items)))[::-1]


def _text(content: str | Sequence[ContentPart]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part["type"] != "input_image")


def _report(output: str) -> str:
    """Return a command's outcome as a sentence, with its output."""
    exit_code = _EXIT_CODE.search(_header(output))
    if exit_code is None:
        return f"The command did not run to its end:\n\n{_shortened(output)}"
    _, _, printed = output.partition("Output:\n")
    ending = f"The command exited with code {exit_code[1]}"
    return f"{ending} and printed:\n\n{_shortened(printed)}" if printed.strip() else f"{ending} and printed nothing."


def _shortened(text: str) -> str:
    text = text.strip("\n")
    if len(text) <= MAX_REPEATED_CHARACTERS:
        return text
    return f"{text[:MAX_REPEATED_CHARACTERS]}\n… ({len(text)} characters in all)"


def _deltas(text: str) -> Iterator[str]:
    words = re.findall(r"\s*\S+\s*?(?=\s|$)|\s+$", text)
    for at in range(0, len(words), WORDS_PER_DELTA):
        yield "".join(words[at : at + WORDS_PER_DELTA])


def _last_request(items: Sequence[ModelItem]) -> str:
    """Return the first line of the user's last message; the title prompt of clients quotes it after "User prompt:"."""
    texts = [_text(item["content"]) for item in items if item["type"] == "message" and item["role"] == "user"]
    lines = (texts[-1] if texts else "").rpartition("User prompt:\n")[2].strip().splitlines()
    return lines[0] if lines else ""


def _conforming_json(prompt: Prompt) -> str:
    return json.dumps(_conforming(prompt.output_schema, _last_request(prompt.input)), ensure_ascii=False)


def _conforming(schema: object, text: str) -> Any:
    """Return a value that follows a simple schema, with the text as its strings.

    Clients write the schema: of one that says what this model does not know, or nonsense, nothing is followed.
    """
    if not isinstance(schema, Mapping):
        return text
    allowed, properties = schema.get("enum"), schema.get("properties")
    if isinstance(allowed, list) and allowed:
        return allowed[0]
    match schema.get("type"):
        case "object":
            inner = properties if isinstance(properties, Mapping) else {}
            return {name: _conforming(member, text) for name, member in inner.items()}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return _number(schema.get("minimum"), 0)
        case "null":
            return None
    shortest = min(_number(schema.get("minLength"), 0), MAX_REPEATED_CHARACTERS)
    filled = (text or "Scripted model").ljust(shortest, ".")
    return filled[: max(_number(schema.get("maxLength"), len(filled)), 0)]


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) else default
