"""A deterministic model: a scripted server of the Responses API and of Chat Completions, for every test.

In-process:  with ModelServer() as server: … server.base_url …
Standalone:  python -m tests.support.model_server --port P --gate-dir DIR     (prints the port; 0: a free one)

The request alone decides the answer: the last text that the user typed is the script (user messages that begin with "<"
are injected context and are skipped). So the answers are the same across restarts and workers. The only exception is
`times=`, which counts per script text in this process.

A script is a text with steps `[[verb options text]]`; text between the steps is ignored. The steps up to and including
a tool call are one answer. The next answer starts after that call, once the output of the call is in the input (outputs
after the last user text are counted). `[[run a]]+[[run b]]` are two calls of one answer. After the end of the script
the answer is "Done.". A text without steps is answered with "You said: TEXT". A request with an output schema (for
example for a title) never runs a script: the answer is a JSON object with the properties of the schema.

    [[say TEXT]]                  text, one delta per word; adjacent says are one message
    [[say n=50 delay_ms=20]]      50 deltas "w0 " to "w49 ", 20 ms apart; with TEXT: that text in n deltas
    [[reason A|B]]                reasoning with two summary parts (chat: reasoning_content)
    [[think TEXT]]                raw reasoning text
    [[run CMD]]                   a call of exec_command {"cmd": CMD} that waits for the command's end
    [[patch TEXT]]                a custom call of apply_patch with TEXT (chat: a function call with {"input": TEXT})
    [[tool NAME {JSON}]]          a call of the function NAME; NAMESPACE::NAME: of a function of a namespace
    [[usage in=100 out=20 cached=10 reasoning=5]]   the token counts that this answer reports (these are the defaults)
    [[pause NAME]]                the stream pauses until NAME is released
    [[hold NAME]]                 the same, before the status line is sent
    [[status 429 retry_after=1 type=T code=C resets_at=S MESSAGE]]    answers with this status and an error body
    [[drop]]                      cuts the connection in the middle of the stream
    [[close]]                     ends the HTTP response properly, before the answer is complete
    [[garbage]]                   an event whose data is not JSON
    [[raw TEXT]]                  one event with this data
    [[fail CODE MESSAGE]]         response.failed (chat: an error event)
    [[incomplete REASON]]         response.incomplete (chat: finish_reason length or content_filter)
    [[split N]]                   from here on every write has at most N bytes
    [[bare]]                      from here on no output_item.added and .done events, and only calls in
                                  response.completed (chat: no call ids and no usage)

status, drop, close, garbage, fail and incomplete accept `times=N`: they apply to the first N requests with this text,
and later requests skip them. A released pause stays released.

Every request is checked like the real API does: a call without its output in the input, or an output without its call,
is answered with 400. GET …/requests returns all requests so far as JSON: [{"path", "headers", "body"}].
"""

from __future__ import annotations

import argparse
import json
import re
import select
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from tests.support.wait import DEADLINE_SECONDS

CF_RAY = "8f2a-MAD"  # the id that a proxy in front of a model gives a request
CALLS = {"run", "patch", "tool"}
YIELD_MS = 120_000  # for which the model waits for a command of [[run]], on a machine however slow
COUNTED = {"status", "drop", "close", "garbage", "fail", "incomplete"}
OPENING = re.compile(r"\[\[(\w+)[ \n]?")
CLOSING = re.compile(r"\]\](?!\])")
OPTION = re.compile(r"(\w+)=(\S*)(?:\s+|$)")
OPTIONS = {
    "say": {"n", "delay_ms"},
    "usage": {"in", "out", "cached", "reasoning"},
    "status": {"retry_after", "type", "code", "resets_at", "times"},
    **{verb: {"times"} for verb in COUNTED - {"status"}},
}
POLL_SECONDS = 0.01  # how often a paused stream checks for its file and for a closed connection


@dataclass(frozen=True)
class Step:
    verb: str
    text: str
    options: dict[str, str] = field(default_factory=dict)

    def number(self, name: str, default: float = 0) -> float:
        return float(self.options.get(name, default))


@dataclass(frozen=True)
class Request:
    """A request that a client sent. headers: names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class HungUp(Exception):
    """The client closed the connection."""


class Refused(Exception):
    """An error that answers the request instead of a stream."""

    def __init__(self, status: int, message: str, **error: Any) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = error.pop("retry_after", None)
        self.error = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **error}


def parse(text: str) -> list[list[Step]]:
    """Return the answers of a script, each a list of steps; [] when the text has no step."""
    answers: list[list[Step]] = []
    at = 0
    while opening := OPENING.search(text, at):
        joined = text[at : opening.start()].strip() == "+"
        end = _end(text, opening)
        step = _step(opening[1], text[opening.end() : end])
        if not answers or (_calls(answers[-1]) and not (joined and step.verb in CALLS)):
            answers.append([])
        answers[-1].append(step)
        at = end + 2
    return answers


def _end(text: str, opening: re.Match[str]) -> int:
    """Return the position of the `]]` that closes a step; JSON arguments may contain another one."""
    at = opening.end()
    if opening[1] == "tool" and (name := re.compile(r"[\w:]+\s*(?=\{)").match(text, at)):
        _, at = json.JSONDecoder().raw_decode(text, name.end())
    closing = CLOSING.search(text, at)
    if closing is None:
        raise Refused(400, f"unclosed step in script: {text[opening.start() :]}")
    return closing.start()


def _step(verb: str, rest: str) -> Step:
    options: dict[str, str] = {}
    allowed = OPTIONS.get(verb, set())
    if verb == "status":
        code, _, rest = rest.partition(" ")
        options["status"] = code
    while (match := OPTION.match(rest)) and match[1] in allowed:
        options[match[1]] = match[2]
        rest = rest[match.end() :]
    return Step(verb, rest, options)


def _calls(steps: list[Step]) -> int:
    return sum(step.verb in CALLS for step in steps)


@dataclass(frozen=True)
class ParsedRequest:
    """The parts of a request that decide its answer.

    text:     the last text that the user typed
    outputs:  number of tool outputs after that text; calls: number of all calls in the input
    schema:   the output schema, or None
    """

    text: str
    outputs: int
    calls: int
    schema: dict[str, Any] | None


def read_responses(body: dict[str, Any]) -> ParsedRequest:
    """Check and parse a request of the Responses API. Errors: Refused."""
    _check(body.get("stream") is True, "stream must be true")
    _check(isinstance(body.get("model"), str), "Missing required parameter: 'model'.")
    text, outputs, open_calls, seen = "", 0, {}, set()
    for number, item in enumerate(body["input"]):
        kind = item.get("type", "message")
        if kind == "message":
            role = item.get("role")
            _check(role in ("user", "developer", "system", "assistant"), f"Invalid value: 'input[{number}].role'.")
            for part in item["content"]:
                wanted = {"output_text"} if role == "assistant" else {"input_text", "input_image"}
                _check(part["type"] in wanted, f"Invalid value: '{part['type']}' at 'input[{number}].content'.")
            typed = "\n".join(part["text"] for part in item["content"] if "text" in part)
            if role == "user" and not typed.startswith("<"):
                text, outputs = typed, 0
        elif kind in ("function_call", "custom_tool_call"):
            _check(item["call_id"] not in seen, f"Duplicate call_id {item['call_id']}.")
            seen.add(item["call_id"])
            open_calls[item["call_id"]] = kind
            json.loads(item["arguments"]) if kind == "function_call" else _check(
                isinstance(item["input"], str), "input"
            )
        elif kind in ("function_call_output", "custom_tool_call_output"):
            known = open_calls.pop(item["call_id"], None)
            _check(
                known is not None, f"No tool call found for {kind.replace('_', ' ')} with call_id {item['call_id']}."
            )
            _check(f"{known}_output" == kind, f"{kind} answers a {known}.")
            _check(isinstance(item["output"], str | list), f"Invalid type for 'input[{number}].output'.")
            outputs += 1
        elif kind == "web_search_call":
            offered = {tool["type"] for tool in body.get("tools", ())}
            _check("web_search" in offered, f"Invalid value: 'input[{number}].type' = '{kind}'.")
        else:
            _check(kind == "reasoning" and "summary" in item, f"Invalid value: 'input[{number}].type' = '{kind}'.")
    for call_id, kind in open_calls.items():
        name = "function call" if kind == "function_call" else "custom tool call"
        _check(False, f"No tool output found for {name} {call_id}.")
    text_format = (body.get("text") or {}).get("format") or {}
    return ParsedRequest(text, outputs, len(seen), text_format.get("schema"))


HARNESS = re.compile(r"\A(<(\w+)>.*?</\2>\n\n)+", re.DOTALL)


def read_chat(body: dict[str, Any]) -> ParsedRequest:
    """Check and parse a request of Chat Completions. Errors: Refused."""
    _check(body.get("stream") is True, "stream must be true")
    text, outputs, calls = "", 0, 0
    waiting: list[str] = []
    for number, message in enumerate(body["messages"]):
        role = message["role"]
        if role == "tool":
            _check(message["tool_call_id"] in waiting, "messages with role 'tool' must follow their tool_calls")
            _check(isinstance(message["content"], str), f"messages[{number}].content must be text")
            waiting.remove(message["tool_call_id"])
            outputs += 1
            continue
        _check(not waiting, f"tool_call_ids did not have response messages: {', '.join(waiting)}")
        _check(role != "system" or number == 0, "System message must be at the beginning.")
        content = message.get("content")
        if role == "user":
            # One string may hold what the harness says, between tags, and then the user's text.
            parts = content if isinstance(content, list) else [{"type": "text", "text": HARNESS.sub("", content)}]
            for part in parts:
                _check(part["type"] in ("text", "image_url"), f"Invalid part '{part['type']}'.")
                if part["type"] == "text" and not part["text"].startswith("<"):
                    text, outputs = part["text"], 0
        elif role == "assistant":
            _check(content is not None or "tool_calls" in message, "assistant message without content")
            for call in message.get("tool_calls", []):
                _check(isinstance(json.loads(call["function"]["arguments"]), dict), "arguments must be an object")
                waiting.append(call["id"])
                calls += 1
        else:
            _check(role == "system", f"Invalid role '{role}'.")
    _check(not waiting, f"tool_call_ids did not have response messages: {', '.join(waiting)}")
    response_format = body.get("response_format") or {}
    return ParsedRequest(text, outputs, calls, (response_format.get("json_schema") or {}).get("schema"))


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise Refused(400, message, param="input")


class _Stream:
    """An answer that is being sent: HTTP chunks with SSE events."""

    def __init__(self, handler: _Handler, parsed: ParsedRequest, model: str) -> None:
        self.handler = handler
        self.model = model
        self.calls = parsed.calls
        self.id = f"resp_{len(handler.server.requests)}"
        self.split_bytes = 0
        self.bare = False
        self.usage = {"in": 100, "out": 20, "cached": 10, "reasoning": 5}

    def write(self, event: bytes) -> None:
        if not self.split_bytes:
            self.handler.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            return
        for at in range(0, len(event), self.split_bytes):
            piece = event[at : at + self.split_bytes]
            self.handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def close(self) -> None:
        self.handler.wfile.write(b"0\r\n\r\n")

    def next_call_id(self) -> str:
        self.calls += 1
        return f"call_{self.calls}"

    def end_message(self) -> None:
        """Complete the open message, if there is one."""


class _ResponsesStream(_Stream):
    def begin(self) -> None:
        self.items: list[dict[str, Any]] = []
        self.text: list[str] | None = None
        self.event("response.created", response={"id": self.id, "status": "in_progress", "output": []})

    def event(self, kind: str, **members: Any) -> None:
        payload = orjson.dumps({"type": kind, **members})
        self.write(b"event: %b\ndata: %b\n\n" % (kind.encode(), payload))

    def added(self, item: dict[str, Any]) -> None:
        if not self.bare:
            self.event("response.output_item.added", output_index=len(self.items), item=item)

    def done(self, item: dict[str, Any]) -> None:
        if not self.bare:
            self.event("response.output_item.done", output_index=len(self.items), item=item)
        self.items.append(item)

    def begin_message(self) -> None:
        if self.text is None:
            self.text = []
            item_id = f"msg_{self.id}_{len(self.items)}"
            item = {"type": "message", "id": item_id, "role": "assistant", "status": "in_progress", "content": []}
            self.added(item)

    def delta(self, text: str) -> None:
        self.begin_message()
        assert self.text is not None
        self.text.append(text)
        item_id = f"msg_{self.id}_{len(self.items)}"
        self.event(
            "response.output_text.delta", item_id=item_id, output_index=len(self.items), content_index=0, delta=text
        )

    def end_message(self) -> None:
        if self.text is None:
            return
        content = [{"type": "output_text", "text": "".join(self.text), "annotations": []}]
        item_id = f"msg_{self.id}_{len(self.items)}"
        self.text = None
        self.done({"type": "message", "id": item_id, "role": "assistant", "status": "completed", "content": content})

    def reason(self, parts: list[str]) -> None:
        item_id = f"rs_{self.id}_{len(self.items)}"
        self.added({"type": "reasoning", "id": item_id, "summary": []})
        for index, part in enumerate(parts):
            if not self.bare:
                self.event("response.reasoning_summary_part.added", item_id=item_id, summary_index=index)
            for word in words(part):
                self.event("response.reasoning_summary_text.delta", item_id=item_id, summary_index=index, delta=word)
        summary = [{"type": "summary_text", "text": part} for part in parts]
        self.done({"type": "reasoning", "id": item_id, "summary": summary, "encrypted_content": "ZW5j"})

    def think(self, text: str) -> None:
        item_id = f"rs_{self.id}_{len(self.items)}"
        self.added({"type": "reasoning", "id": item_id, "summary": [], "content": []})
        for word in words(text):
            self.event("response.reasoning_text.delta", item_id=item_id, content_index=0, delta=word)
        content = [{"type": "reasoning_text", "text": text}]
        self.done({"type": "reasoning", "id": item_id, "summary": [], "content": content})

    def call(self, name: str, text: str, custom: bool) -> None:
        call_id = self.next_call_id()
        kind, member = ("custom_tool_call", "input") if custom else ("function_call", "arguments")
        namespace, _, name = name.rpartition("::")
        item = {"type": kind, "id": f"fc_{call_id}", "call_id": call_id, "name": name, "status": "in_progress"}
        if namespace:
            item["namespace"] = namespace
        self.added({**item, member: ""})
        self.done({**item, member: text, "status": "completed"})

    def complete(self) -> None:
        usage = {
            "input_tokens": self.usage["in"],
            "input_tokens_details": {"cached_tokens": self.usage["cached"]},
            "output_tokens": self.usage["out"],
            "output_tokens_details": {"reasoning_tokens": self.usage["reasoning"]},
            "total_tokens": self.usage["in"] + self.usage["out"],
        }
        output = [item for item in self.items if "call_id" in item] if self.bare else self.items
        response = {"id": self.id, "status": "completed", "output": output, "usage": usage}
        self.event("response.completed", response=response)

    def fail(self, code: str, message: str) -> None:
        error = {"code": code, "message": message}
        self.event("response.failed", response={"id": self.id, "status": "failed", "error": error})

    def incomplete(self, reason: str) -> None:
        self.event("response.incomplete", response={"id": self.id, "incomplete_details": {"reason": reason}})


class _ChatStream(_Stream):
    def begin(self) -> None:
        self.index = 0
        self.chunk({"role": "assistant", "content": ""})

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        self.data({"id": self.id, "object": "chat.completion.chunk", "model": self.model, "choices": [choice]})

    def data(self, payload: dict[str, Any]) -> None:
        self.write(b"data: %b\n\n" % orjson.dumps(payload))

    def begin_message(self) -> None:
        pass

    def delta(self, text: str) -> None:
        self.chunk({"content": text})

    def reason(self, parts: list[str]) -> None:
        self.think("\n".join(parts))

    def think(self, text: str) -> None:
        for word in words(text):
            self.chunk({"reasoning_content": word})

    def call(self, name: str, text: str, custom: bool) -> None:
        arguments = json.dumps({"input": text}) if custom else text
        half = len(arguments) // 2
        name = name.replace("::", "__")
        head = {"index": self.index, "type": "function", "function": {"name": name, "arguments": ""}}
        call_id = self.next_call_id()
        self.chunk({"tool_calls": [head if self.bare else {**head, "id": call_id}]})
        for piece in (arguments[:half], arguments[half:]):
            self.chunk({"tool_calls": [{"index": self.index, "function": {"arguments": piece}}]})
        self.index += 1

    def complete(self) -> None:
        self.chunk({}, "tool_calls" if self.index else "stop")
        if not self.bare:
            usage = {
                "prompt_tokens": self.usage["in"],
                "completion_tokens": self.usage["out"],
                "total_tokens": self.usage["in"] + self.usage["out"],
                "prompt_tokens_details": {"cached_tokens": self.usage["cached"]},
                "completion_tokens_details": {"reasoning_tokens": self.usage["reasoning"]},
            }
            self.data({"id": self.id, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        self.write(b"data: [DONE]\n\n")

    def fail(self, code: str, message: str) -> None:
        self.data({"error": {"code": code, "message": message}})

    def incomplete(self, reason: str) -> None:
        self.chunk({}, {"max_output_tokens": "length"}.get(reason, reason))


def words(text: str) -> list[str]:
    """Split the text after each run of white space."""
    return re.findall(r"\S+\s*|\s+", text)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.endswith("/requests"):
            self.answer(200, [vars(request) for request in self.server.requests])
        elif self.path.endswith("/models"):
            self.answer(200, {"object": "list", "data": [{"id": "mock-model", "object": "model"}]})
        else:
            self.answer(404, {"error": {"message": f"Invalid URL (GET {self.path})", "type": "invalid_request_error"}})

    def do_POST(self) -> None:
        body = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        self.server.requests.append(
            Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        )
        try:
            if path.endswith("/responses"):
                parsed = read_responses(body)
                self.play(parsed, _ResponsesStream(self, parsed, body["model"]))
            elif path.endswith("/chat/completions"):
                parsed = read_chat(body)
                self.play(parsed, _ChatStream(self, parsed, body["model"]))
            else:
                raise Refused(404, f"Invalid URL (POST {path})")
        except Refused as refusal:
            self.answer(refusal.status, {"error": refusal.error}, refusal.retry_after)
        except (HungUp, OSError):
            self.close_connection = True

    def answer(self, status: int, body: Any, retry_after: str | None = None) -> None:
        payload = orjson.dumps(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(payload)

    def play(self, parsed: ParsedRequest, stream: _ResponsesStream | _ChatStream) -> None:
        steps = [
            step
            for number, step in enumerate(self.steps_for(parsed))
            if not self.is_over(step, (parsed.text, parsed.outputs, number))
        ]
        for step in steps:
            if step.verb == "status":
                options: dict[str, Any] = {
                    name: step.options[name] for name in ("type", "code") if name in step.options
                }
                if "resets_at" in step.options:
                    options["resets_at"] = int(step.options["resets_at"])
                status = int(step.options["status"])
                retry_after = step.options.get("retry_after")
                raise Refused(status, step.text or f"scripted {status}", retry_after=retry_after, **options)
            if step.verb == "hold":
                self.server.gate.pause(step.text.strip(), self.connection)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("CF-Ray", CF_RAY)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        stream.begin()
        if all(self.play_step(step, stream) for step in steps):
            stream.end_message()
            stream.complete()
            stream.close()

    def steps_for(self, parsed: ParsedRequest) -> list[Step]:
        if parsed.schema is not None and "outcome" in parsed.schema.get("properties", {}) and self.server.verdicts:
            verdict = self.server.verdicts.pop(0) if len(self.server.verdicts) > 1 else self.server.verdicts[0]
            return (parse(verdict) or [[Step("say", verdict)]])[0]
        if parsed.schema is not None:
            return [Step("say", orjson.dumps(conforming(parsed.schema, parsed.text)).decode())]
        answers = parse(parsed.text)
        if not answers:
            return self.unscripted(parsed.text)
        calls_made = 0
        for answer in answers:
            if calls_made >= parsed.outputs:
                return answer
            calls_made += _calls(answer)
        return [Step("say", "Done.")]

    def unscripted(self, text: str) -> list[Step]:
        answers = parse(self.server.unscripted)
        return answers[0] if answers else [Step("say", f"You said: {text}")]

    def is_over(self, step: Step, position: tuple[str, int, int]) -> bool:
        """Count a use of the step at this position. Return whether its `times=` limit is exceeded."""
        if "times" not in step.options:
            return False
        with self.server.lock:
            self.server.met[position] += 1
            return self.server.met[position] > step.number("times")

    def play_step(self, step: Step, stream: _ResponsesStream | _ChatStream) -> bool:
        """Carry out a step. Return False when it ends the response."""
        if step.verb not in ("say", "pause", "drop", "close", "garbage", "raw", "split", "usage", "bare"):
            stream.end_message()
        match step.verb:
            case "say":
                self.say(step, stream)
            case "pause":
                self.server.gate.pause(step.text.strip(), self.connection)
            case "reason":
                stream.reason(step.text.split("|"))
            case "think":
                stream.think(step.text)
            case "run":
                stream.call("exec_command", json.dumps({"cmd": step.text, "yield_time_ms": YIELD_MS}), custom=False)
            case "patch":
                stream.call("apply_patch", step.text, custom=True)
            case "tool":
                name, _, arguments = step.text.partition(" ")
                stream.call(name, arguments.strip() or "{}", custom=False)
            case "usage":
                stream.usage.update({name: int(value) for name, value in step.options.items()})
            case "garbage":
                stream.write(b'data: {"type": "response.output_te\n\n')
            case "raw":
                stream.write(b"data: %b\n\n" % step.text.encode())
            case "split":
                stream.split_bytes = int(step.text)
            case "bare":
                stream.bare = True
            case "hold" | "status":
                pass
            case "drop":
                self.close_connection = True
                return False
            case "close":
                stream.close()
                return False
            case "fail":
                code, _, message = step.text.partition(" ")
                stream.fail(code, message or "scripted failure")
                stream.close()
                return False
            case "incomplete":
                stream.incomplete(step.text.strip())
                stream.close()
                return False
            case _:
                raise ValueError(f"no such step in a script: {step.verb}")
        return True

    def say(self, step: Step, stream: _ResponsesStream | _ChatStream) -> None:
        count = int(step.number("n"))
        if not step.text:
            deltas = [f"w{number} " for number in range(count)]
        elif count:
            size = -(-len(step.text) // count)
            deltas = [step.text[at : at + size] for at in range(0, len(step.text), size)]
        else:
            deltas = words(step.text)
        delay_seconds = step.number("delay_ms") / 1000
        stream.begin_message()
        for number, delta in enumerate(deltas):
            if number and delay_seconds:
                time.sleep(delay_seconds)
            stream.delta(delta)


def conforming(schema: dict[str, Any], text: str) -> Any:
    """Return a value that conforms to a simple schema; its strings are cut from the text."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: conforming(inner, text) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return []
        case "boolean":
            return False
        case "integer" | "number":
            return 0
        case "null":
            return None
        case _:
            return (text.rsplit("\n", 1)[-1] or "text")[: schema.get("maxLength", 200)]


class _Gate:
    """Named pauses of streams. `release` or a file with the name in the folder ends a pause."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.changed = threading.Condition()
        self.released: set[str] = set()
        self.reached: Counter[str] = Counter()
        self.hung_up: Counter[str] = Counter()
        self.closed = False

    def pause(self, name: str, connection: socket.socket) -> None:
        """Wait until the name is released. Errors: HungUp when the client closes the connection first."""
        with self.changed:
            self.reached[name] += 1
            (self.directory / f"{name}.reached").write_text(str(self.reached[name]))
            self.changed.notify_all()
        while not self.is_released(name):
            readable, _, _ = select.select([connection], [], [], POLL_SECONDS)
            if readable and not connection.recv(1, socket.MSG_PEEK):
                with self.changed:
                    self.hung_up[name] += 1
                    self.changed.notify_all()
                raise HungUp

    def is_released(self, name: str) -> bool:
        return self.closed or name in self.released or (self.directory / name).exists()

    def wait(self, counter: Counter[str], name: str, count: int, deadline_seconds: float) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: counter[name] >= count, deadline_seconds):
                raise TimeoutError(f"{name}: {counter[name]} of {count} within {deadline_seconds} s")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024

    def __init__(self, host: str, port: int, gate: _Gate) -> None:
        super().__init__((host, port), _Handler)
        self.gate = gate
        self.lock = threading.Lock()
        self.requests: list[Request] = []
        self.met: Counter[tuple[str, int, int]] = Counter()
        self.connections = 0
        self.unscripted = ""
        self.verdicts: list[str] = []

    def server_bind(self) -> None:
        # HTTPServer.server_bind would look up its own name in the DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.socket.getsockname()

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted = super().get_request()
        self.connections += 1
        return accepted

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), OSError):  # a client may close its connection at any time
            super().handle_error(request, client_address)


class ModelServer:
    """The model server in this process; a context manager.

    port:      0 for a free one
    host:      the address that it listens on
    gate_dir:  folder in which a file NAME releases the pause NAME, and NAME.reached contains how often it was reached
    """

    def __init__(self, port: int = 0, gate_dir: Path | None = None, *, host: str = "127.0.0.1") -> None:
        self._own_dir = tempfile.TemporaryDirectory(prefix="gate-") if gate_dir is None else None
        self._gate = _Gate(gate_dir if gate_dir is not None else Path(self._own_dir.name))  # type: ignore[union-attr]
        self._server = _Server(host, port, self._gate)
        self.port: int = self._server.server_port
        self.base_url = f"http://{host}:{self.port}/v1"

    def __enter__(self) -> ModelServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.closed = True
        self._server.shutdown()
        self._server.server_close()
        if self._own_dir is not None:
            self._own_dir.cleanup()

    @property
    def requests(self) -> list[Request]:
        """Every request so far, oldest first."""
        return self._server.requests

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return self._server.connections

    @property
    def unscripted(self) -> str:
        """The script of the answer to a text without steps; "": it is answered with "You said: TEXT"."""
        return self._server.unscripted

    @unscripted.setter
    def unscripted(self, script: str) -> None:
        self._server.unscripted = script

    @property
    def verdicts(self) -> list[str]:
        """What the next automatic reviews are answered with: texts or scripts, of which the last one stays."""
        return self._server.verdicts

    def reviews(self) -> list[Request]:
        """Return the requests for automatic reviews so far, oldest first."""
        return [one for one in self.requests if str(one.body.get("prompt_cache_key")).startswith("guardian:")]

    def release(self, name: str) -> None:
        """Release `[[pause name]]` for streams that wait at it now and for later ones."""
        self._gate.released.add(name)

    def forget_pauses(self) -> None:
        """Let all pauses be new ones: neither reached nor released."""
        with self._gate.changed:
            for names in (self._gate.released, self._gate.reached, self._gate.hung_up):
                names.clear()

    def wait_reached(self, name: str, deadline_seconds: float = DEADLINE_SECONDS, count: int = 1) -> None:
        """Wait until streams have reached `[[pause name]]` this many times. Errors: TimeoutError."""
        self._gate.wait(self._gate.reached, name, count, deadline_seconds)

    def wait_hung_up(self, name: str, deadline_seconds: float = DEADLINE_SECONDS, count: int = 1) -> None:
        """Wait until `count` clients have closed their connection during `[[pause name]]`. Errors: TimeoutError."""
        self._gate.wait(self._gate.hung_up, name, count, deadline_seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--gate-dir", type=Path)
    arguments = parser.parse_args()
    server = ModelServer(arguments.port, arguments.gate_dir)
    print(server.port, flush=True)
    with server:
        threading.Event().wait()


if __name__ == "__main__":
    main()
