"""Chat Completions (vLLM, Ollama, llama.cpp and many others): the same prompt and chunks over an older API.

Such servers put messages through a template of the model, and templates are strict. So: one system message, at the
beginning; no two user messages in a row; the tool messages right behind the calls that they answer; text in them only.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from shared.errors import ModelError
from workers.models.chunks import Chunk, Closed, Prompt, ReasoningDelta, TextDelta, Usage
from workers.models.client import Cut, Stream, disconnected, failed
from workers.models.output import CallIds, OpenItem

if TYPE_CHECKING:
    from shared.config import Provider
    from workers.agent.signal import Signal

CALLS = ("function_call", "custom_tool_call")
OUTPUTS = ("function_call_output", "custom_tool_call_output")


class ChatModel:
    """Models behind a provider with `wire_api = "chat"`."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    def stream(self, prompt: Prompt, signal: Signal) -> Iterator[Chunk]:
        """The answer to one prompt; ends without Usage as soon as the signal is called.

        Errors: ModelError (PROTOCOL section 10)
        """
        headers = {"x-client-request-id": prompt.turn_id}
        stream = Stream(self._provider, "/chat/completions", headers, orjson.dumps(_body(prompt)))
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
        "messages": messages(prompt.input),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools := [function for tool in prompt.tools if (function := _function(tool))]:
        body["tools"] = tools
    if prompt.effort:
        body["reasoning_effort"] = prompt.effort
    if prompt.max_answer_tokens is not None:
        body["max_tokens"] = prompt.max_answer_tokens
    if prompt.output_schema is not None:
        json_schema = {"name": "output", "strict": True, "schema": prompt.output_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    return body


def _function(tool: dict[str, Any]) -> dict[str, Any] | None:
    """A tool as a function; None for kinds that only the Responses API knows."""
    description = tool.get("description", "")
    if tool["type"] == "function":
        parameters = tool.get("parameters") or {"type": "object", "properties": {}}
    elif tool["type"] == "custom":
        if grammar := (tool.get("format") or {}).get("definition"):
            description += f"\n\nThe input must follow this grammar:\n{grammar}"
        parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    else:
        return None
    return {
        "type": "function",
        "function": {"name": tool["name"], "description": description, "parameters": parameters},
    }


def messages(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Responses-API items as chat messages. Reasoning is left out: templates drop it or refuse it."""
    outputs: defaultdict[str, deque[Any]] = defaultdict(deque)
    for item in items:
        if item["type"] in OUTPUTS:
            outputs[item["call_id"]].append(item["output"])
    system: list[str] = []
    said: list[dict[str, Any]] = []
    at = 0
    while at < len(items):
        item = items[at]
        at += 1
        if item["type"] == "message":
            _add_message(said, system, item)
        elif item["type"] in CALLS:
            calls = [item]
            while at < len(items) and items[at]["type"] in (*CALLS, "reasoning"):
                calls.append(items[at])
                at += 1
            _add_calls(said, [call for call in calls if call["type"] in CALLS], outputs)
    return [{"role": "system", "content": "\n\n".join(system)}, *said] if system else said


def _add_message(said: list[dict[str, Any]], system: list[str], item: dict[str, Any]) -> None:
    parts = _parts(item["content"])
    if not parts:
        return
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if item["role"] == "assistant":
        if said and said[-1]["role"] == "assistant" and "tool_calls" not in said[-1]:
            said[-1]["content"] += f"\n\n{text}"
        else:
            said.append({"role": "assistant", "content": text})
    elif item["role"] in ("developer", "system") and not said:
        system.append(text)
    else:
        _add_user(said, parts)


def _add_user(said: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    if said and said[-1]["role"] == "user":
        before = said[-1]["content"]
        said[-1]["content"] = ([{"type": "text", "text": before}] if isinstance(before, str) else before) + parts
    else:
        plain = len(parts) == 1 and parts[0]["type"] == "text"
        said.append({"role": "user", "content": parts[0]["text"] if plain else parts})


def _add_calls(said: list[dict[str, Any]], calls: list[dict[str, Any]], outputs: defaultdict[str, deque[Any]]) -> None:
    tool_calls = [
        {"id": call["call_id"], "type": "function", "function": {"name": call["name"], "arguments": _arguments(call)}}
        for call in calls
    ]
    if said and said[-1]["role"] == "assistant" and "tool_calls" not in said[-1]:
        said[-1]["tool_calls"] = tool_calls
    else:
        said.append({"role": "assistant", "content": "", "tool_calls": tool_calls})
    images: list[dict[str, Any]] = []
    for call in calls:
        waiting = outputs[call["call_id"]]
        parts = _parts(waiting.popleft() if waiting else "")
        text = "\n".join(part["text"] for part in parts if part["type"] == "text")
        shown = [part for part in parts if part["type"] == "image_url"]
        images += shown
        content = text or ("The image follows." if shown else "(no output)")
        said.append({"role": "tool", "tool_call_id": call["call_id"], "content": content})
    if images:
        _add_user(said, [{"type": "text", "text": "<tool_images>"}, *images])


def _parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Responses-API content as chat parts; kinds that chat does not know are left out."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    parts: list[dict[str, Any]] = []
    for part in content:
        if part["type"] in ("input_text", "output_text"):
            parts.append({"type": "text", "text": part["text"]})
        elif part["type"] == "input_image" and part.get("image_url"):
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
    return parts


def _arguments(call: dict[str, Any]) -> str:
    """Arguments as JSON of an object: templates parse them, and what a model once got wrong would fail for ever."""
    if call["type"] == "custom_tool_call":
        return orjson.dumps({"input": call["input"]}).decode()
    arguments: str = call["arguments"]
    return arguments if isinstance(_parsed(arguments), dict) else orjson.dumps({"invalid_json": arguments}).decode()


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


@dataclass
class _Call:
    """A tool call whose fragments arrive."""

    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)


def _chunks(stream: Stream, prompt: Prompt) -> Iterator[Chunk]:
    open_item = OpenItem()
    calls = _Calls(prompt)
    usage: dict[str, Any] = {}
    response_id = finish_reason = None
    try:
        for event in stream.events():
            if event.get("error") or event.get("object") == "error":
                raise _failure(stream, event)
            response_id = event.get("id") or response_id
            usage = event.get("usage") or usage
            if not (choices := event.get("choices")):
                continue
            delta = choices[0].get("delta") or {}
            if text := delta.get("content") or delta.get("refusal"):
                if open_item.kind != "message":
                    yield from open_item.open("message")
                open_item.texts.append(text)
                yield TextDelta(text)
            elif text := delta.get("reasoning_content") or delta.get("reasoning"):
                if open_item.kind != "reasoning":
                    yield from open_item.open("reasoning")
                open_item.texts.append(text)
                yield ReasoningDelta(0, text)
            for fragment in delta.get("tool_calls") or ():
                calls.add(fragment)
            finish_reason = choices[0].get("finish_reason") or finish_reason
        if finish_reason is None:
            raise disconnected("stream closed before a finish_reason")
        yield from open_item.close()
        if finish_reason in ("length", "content_filter"):
            told = f"Incomplete response returned, reason: {finish_reason}"
            raise ModelError(told, cut_short=finish_reason == "length")
        for item in calls.items():
            yield Closed(item)
        yield _usage(usage, response_id)
    except (KeyError, TypeError, AttributeError, IndexError):
        raise disconnected("an event of the wrong shape") from None


class _Calls:
    """Tool calls, put together from fragments by their index."""

    def __init__(self, prompt: Prompt) -> None:
        self._custom = {tool["name"] for tool in prompt.tools if tool["type"] == "custom"}
        self._ids = CallIds(prompt.input)
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}

    def add(self, fragment: dict[str, Any]) -> None:
        index = fragment.get("index")
        if index is None:
            index = len(self._at) if fragment.get("id") else max(len(self._at) - 1, 0)
        call_id, function = fragment.get("id"), fragment.get("function") or {}
        call = self._at.get(index)
        # Some servers give every call of an answer the same index; a new id with a name is a new call.
        if call is None or (call_id and function.get("name") and call.id and call_id != call.id):
            call = self._at[index] = _Call(call_id)
            self._calls.append(call)
        call.name = call.name or function.get("name") or ""
        if arguments := function.get("arguments"):
            call.arguments.append(arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode())

    def items(self) -> Iterator[dict[str, Any]]:
        for call in self._calls:
            call_id, arguments = self._ids.take(call.id), "".join(call.arguments)
            if call.name not in self._custom:
                arguments = arguments or "{}"
                yield {"type": "function_call", "call_id": call_id, "name": call.name, "arguments": arguments}
                continue
            parsed = _parsed(arguments)
            text = parsed.get("input") if isinstance(parsed, dict) else None
            text = text if isinstance(text, str) else arguments
            yield {"type": "custom_tool_call", "call_id": call_id, "name": call.name, "input": text}


def _usage(usage: dict[str, Any], response_id: str | None) -> Usage:
    input_tokens, output_tokens = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    return Usage(
        input_tokens=input_tokens,
        cached_input_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0,
        output_tokens=output_tokens,
        reasoning_output_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0,
        total_tokens=usage.get("total_tokens") or input_tokens + output_tokens,
        response_id=response_id,
    )


def _failure(stream: Stream, event: dict[str, Any]) -> ModelError:
    error = event.get("error") or event
    if not isinstance(error, dict):
        error = {"message": error}
    code = error.get("code") or error.get("type")
    return failed(code if isinstance(code, str) else None, stream.redact(str(error.get("message") or "error event")))
