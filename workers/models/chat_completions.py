"""Chat Completions (vLLM, Ollama, llama.cpp and many others): the same prompt and chunks over an older API.

Owns the translation of Responses-API items into chat messages, and the reading of the answer's events. Such servers put
messages through a template of the model, and templates are strict. So: one system message, at the beginning; no two
user messages in a row; the tool messages directly behind the calls that they answer; only text in tool messages. Events
are untrusted JSON: one of another shape than expected ends the stream as disconnected.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict, cast

import orjson

from shared.errors import ModelError
from shared.protocol.model_items import (
    ContentPart,
    CustomToolCall,
    Message,
    ModelCall,
    ModelItem,
    OfferedTool,
)
from workers.models import members
from workers.models.chunks import Chunk, Closed, Prompt, TokenUsage
from workers.models.client import Stream
from workers.models.failures import disconnected, incomplete, reported_failure
from workers.models.http_model import WireApi
from workers.models.namespaces import called_name, flat_tools, function_call, namespaced
from workers.models.output import NAMELESS, CallIds, OpenItem
from workers.models.thinking_tags import ThinkingTags


class ChatImageUrl(TypedDict):
    """Where an image is: an https: or data: URL."""

    url: str


class ChatPart(TypedDict):
    """Shape: {"type": "text", "text"} | {"type": "image_url", "image_url"}"""

    type: Literal["text", "image_url"]
    text: NotRequired[str]
    image_url: NotRequired[ChatImageUrl]


class ChatFunctionCall(TypedDict):
    """arguments: JSON text of an object."""

    name: str
    arguments: str


class ChatToolCall(TypedDict):
    """A call in an assistant message."""

    id: str
    type: Literal["function"]
    function: ChatFunctionCall


class ChatMessage(TypedDict):
    """One message. tool_calls: of an assistant message; tool_call_id: of a tool message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | list[ChatPart]
    tool_calls: NotRequired[list[ChatToolCall]]
    tool_call_id: NotRequired[str]


Outputs = defaultdict[str, deque[str | Sequence[ContentPart]]]  # of calls that are not translated yet, by call id


def _headers(prompt: Prompt) -> dict[str, str]:
    return {"x-client-request-id": prompt.turn_id}


def _body(prompt: Prompt) -> dict[str, object]:
    body: dict[str, object] = {
        "model": prompt.model,
        "messages": messages(prompt.input),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if tools := [function for tool in flat_tools(prompt.tools) if (function := _function(tool))]:
        body["tools"] = tools
    if prompt.effort:
        body["reasoning_effort"] = prompt.effort
    if prompt.max_answer_tokens is not None:
        body["max_tokens"] = prompt.max_answer_tokens
    if prompt.output_schema is not None:
        json_schema = {"name": "output", "strict": True, "schema": prompt.output_schema}
        body["response_format"] = {"type": "json_schema", "json_schema": json_schema}
    return body


def _function(tool: OfferedTool) -> Mapping[str, object] | None:
    """Return a tool as a function; None for kinds that only the Responses API knows."""
    if tool["type"] == "web_search":
        return None
    description = tool.get("description", "")
    parameters: Mapping[str, object]
    if tool["type"] == "function":
        parameters = tool.get("parameters") or {"type": "object", "properties": {}}
    elif tool["type"] == "custom":
        if grammar := tool.get("format"):
            description += f"\n\nThe input must follow this grammar:\n{grammar['definition']}"
        parameters = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    else:
        return None
    return {
        "type": "function",
        "function": {"name": tool["name"], "description": description, "parameters": parameters},
    }


def messages(items: Sequence[ModelItem]) -> list[ChatMessage]:
    """Return Responses-API items as chat messages. Reasoning is left out: templates drop it or refuse it."""
    outputs: Outputs = defaultdict(deque)
    for item in items:
        if item["type"] == "function_call_output" or item["type"] == "custom_tool_call_output":
            outputs[item["call_id"]].append(item["output"])
    system: list[str] = []
    chat: list[ChatMessage] = []
    at = 0
    while at < len(items):
        item = items[at]
        at += 1
        if item["type"] == "message":
            _add_message(chat, system, item)
        elif item["type"] == "function_call" or item["type"] == "custom_tool_call":
            calls: list[ModelCall] = [item]
            # Calls of one answer belong into one message, whatever reasoning stands between them.
            while at < len(items):
                following = items[at]
                if following["type"] == "function_call" or following["type"] == "custom_tool_call":
                    calls.append(following)
                elif following["type"] not in ("reasoning", "web_search_call"):
                    break
                at += 1
            _add_calls(chat, calls, outputs)
    for said in chat:
        said["content"] = _joined(said["content"])
    return [{"role": "system", "content": "\n\n".join(system)}, *chat] if system else chat


def _joined(content: str | list[ChatPart]) -> str | list[ChatPart]:
    """Return parts as one string if all of them are text: the templates of some servers take nothing else."""
    if isinstance(content, str) or any(part["type"] != "text" for part in content):
        return content
    return "\n\n".join(part["text"] for part in content)


def _add_message(chat: list[ChatMessage], system: list[str], item: Message) -> None:
    parts = _parts(item["content"])
    if not parts:
        return
    text = _text(parts)
    if item["role"] == "assistant":
        before = _last_plain_answer(chat)
        if before is not None:
            before["content"] = f"{before['content']}\n\n{text}"
        else:
            chat.append({"role": "assistant", "content": text})
    elif item["role"] in ("developer", "system") and not chat:
        system.append(text)
    else:
        _add_user(chat, parts)


def _add_user(chat: list[ChatMessage], parts: list[ChatPart]) -> None:
    """Add parts of a user message; to the last message, if that is the user's too."""
    if chat and chat[-1]["role"] == "user":
        before = cast(list[ChatPart], chat[-1]["content"])
        before += parts
    else:
        chat.append({"role": "user", "content": parts})


def _add_calls(chat: list[ChatMessage], calls: list[ModelCall], outputs: Outputs) -> None:
    """Add an assistant message with the calls, their outputs, then images of the outputs as a user message."""
    tool_calls: list[ChatToolCall] = [
        {
            "id": call["call_id"],
            "type": "function",
            "function": {"name": called_name(call), "arguments": _arguments(call)},
        }
        for call in calls
    ]
    before = _last_plain_answer(chat)
    if before is not None:
        before["tool_calls"] = tool_calls
    else:
        chat.append({"role": "assistant", "content": "", "tool_calls": tool_calls})
    images: list[ChatPart] = []
    for call in calls:
        waiting = outputs[call["call_id"]]
        parts = _parts(waiting.popleft() if waiting else "")
        shown = [part for part in parts if part["type"] == "image_url"]
        images += shown
        content = _text(parts) or ("The image follows." if shown else "(no output)")
        chat.append({"role": "tool", "tool_call_id": call["call_id"], "content": content})
    if images:
        _add_user(chat, [{"type": "text", "text": "<tool_images>"}, *images])


def _last_plain_answer(chat: list[ChatMessage]) -> ChatMessage | None:
    """Return the last message if it is an assistant's and has no calls: more of the same answer goes into it."""
    return chat[-1] if chat and chat[-1]["role"] == "assistant" and "tool_calls" not in chat[-1] else None


def _parts(content: str | Sequence[ContentPart]) -> list[ChatPart]:
    """Return Responses-API content as chat parts; kinds that chat does not know are left out."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    parts: list[ChatPart] = []
    for part in content:
        if part["type"] == "input_text" or part["type"] == "output_text":
            parts.append({"type": "text", "text": part["text"]})
        elif part["type"] == "input_image" and part.get("image_url"):
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"]}})
    return parts


def _text(parts: Sequence[ChatPart]) -> str:
    return "\n".join(part["text"] for part in parts if part["type"] == "text")


def _arguments(call: ModelCall) -> str:
    """Return arguments as JSON of an object: templates parse them, and a wrong one would fail every later request."""
    if call["type"] == "custom_tool_call":
        return orjson.dumps({"input": call["input"]}).decode()
    arguments = call["arguments"]
    return arguments if isinstance(_parsed(arguments), dict) else orjson.dumps({"invalid_json": arguments}).decode()


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


@dataclass
class _Call:
    """A tool call whose fragments arrive one after the other."""

    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)


def _chunks(stream: Stream, prompt: Prompt) -> Iterator[Chunk]:
    open_item, thinking = OpenItem(), ThinkingTags()
    calls = _Calls(prompt)
    usage: Any = {}
    response_id = finish_reason = None
    try:
        for event in stream.events():
            if event.get("error") or event.get("object") == "error":
                raise _failure(stream, event)
            response_id = members.optional_text(event.get("id")) or response_id
            usage = members.members(event.get("usage")) or usage
            if not (choices := event.get("choices")):
                continue
            delta = choices[0].get("delta") or {}
            if text := members.text(delta.get("content")) or members.text(delta.get("refusal")):
                for kind, part in thinking.split(text):
                    yield from open_item.add(kind, part)
            elif text := members.text(delta.get("reasoning_content") or delta.get("reasoning")):
                yield from open_item.add("reasoning", text)
            for fragment in delta.get("tool_calls") or ():
                calls.add(fragment)
            finish_reason = choices[0].get("finish_reason") or finish_reason
        if finish_reason is None:
            raise disconnected("stream closed before a finish_reason")
        for kind, part in thinking.rest():
            yield from open_item.add(kind, part)
        yield from open_item.close()
        if finish_reason in ("length", "content_filter"):
            raise incomplete(finish_reason, cut_short=finish_reason == "length")
        for item in calls.items():
            yield Closed(item)
        yield _usage(usage, response_id)
    except (KeyError, TypeError, AttributeError, IndexError):
        raise disconnected("an event of the wrong shape") from None


class _Calls:
    """Tool calls, joined from fragments by their index."""

    def __init__(self, prompt: Prompt) -> None:
        self._custom = {tool["name"] for tool in prompt.tools if tool["type"] == "custom"}
        self._names = namespaced(prompt.tools)
        self._ids = CallIds(prompt.input)
        self._calls: list[_Call] = []
        self._at: dict[int | str, _Call] = {}

    def add(self, fragment: Any) -> None:
        index = fragment.get("index")
        if not isinstance(index, int | str):  # some servers write the number as a text
            index = len(self._at) if fragment.get("id") else max(len(self._at) - 1, 0)
        call_id, function = members.optional_text(fragment.get("id")), members.members(fragment.get("function"))
        name = members.optional_text(function.get("name"))
        call = self._at.get(index)
        # Some servers give every call of an answer the same index; a new id with a name is a new call.
        if call is None or (call_id and name and call.id and call_id != call.id):
            call = self._at[index] = _Call(call_id)
            self._calls.append(call)
        call.name = call.name or name or ""
        if arguments := function.get("arguments"):
            call.arguments.append(members.json_text(arguments))

    def items(self) -> Iterator[ModelCall]:
        """Yield the complete calls. A freeform input that is no JSON object is used as it is."""
        for call in self._calls:
            call_id, arguments = self._ids.unique(call.id), "".join(call.arguments)
            call.name = call.name or NAMELESS
            if call.name not in self._custom:
                yield function_call(call_id, call.name, arguments or "{}", self._names)
                continue
            parsed = _parsed(arguments)
            text = parsed.get("input") if isinstance(parsed, dict) else None
            text = text if isinstance(text, str) else arguments
            yield CustomToolCall(type="custom_tool_call", call_id=call_id, name=call.name, input=text)


def _usage(usage: Any, response_id: str | None) -> TokenUsage:
    taken, given = (members.members(usage.get(f"{name}_tokens_details")) for name in ("prompt", "completion"))
    input_tokens, output_tokens = (
        members.tokens(usage.get("prompt_tokens")),
        members.tokens(usage.get("completion_tokens")),
    )
    return TokenUsage(
        input_tokens=input_tokens,
        cached_input_tokens=members.tokens(taken.get("cached_tokens")),
        output_tokens=output_tokens,
        reasoning_output_tokens=members.tokens(given.get("reasoning_tokens")),
        total_tokens=members.tokens(usage.get("total_tokens")) or input_tokens + output_tokens,
        response_id=response_id,
    )


def _failure(stream: Stream, event: Any) -> ModelError:
    error = event.get("error") or event
    if not isinstance(error, dict):
        error = {"message": error}
    code = error.get("code") or error.get("type")
    message = members.optional_text(error.get("message")) or "error event"
    return reported_failure(members.optional_text(code), stream.redact(message))


API = WireApi("/chat/completions", _headers, _body, _chunks)
