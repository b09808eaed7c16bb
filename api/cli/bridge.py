"""threadhouse app-server: a server far away behind stdin and stdout, for clients that spawn a process of their own.

Lines of JSON on one side, a WebSocket on the other (PROTOCOL section 1). The client never learns that its connection
broke: we make a new one, follow what it followed from the last event that it has, and send again what may be sent
twice. The main thread reads stdin, a second one reads the socket and connects again.
"""

from __future__ import annotations

import os
import random
import socket as sockets
import ssl
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import click
import orjson
import websocket

from shared.clock import now_ms
from shared.errors import ThreadhouseError, Unauthorized, Unavailable
from shared.ids import new_id
from shared.protocol.frames import decode

DEFAULT_URL = "http://127.0.0.1:8765"
STDIO = "stdio://"
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 75.0  # the server pings after 30 s of silence; two missed ones are a dead connection
AGAIN_SECONDS = (0.1, 5.0)  # between two attempts to connect: first, most
WAIT_SECONDS = 30.0
GOODBYE_SECONDS = 2.0  # at the end, for the server to take what was sent
MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # of a frame; a bigger one costs the connection
MAX_SENDS = 3  # of one request: it may be what breaks the connection
RETRY_AFTER_MS = 1000
NO_EVENT = "0-0"  # before every event of a thread

# Requests whose second time changes nothing, or leaves no more than an empty thread that the server sweeps away.
REPEATABLE = {
    "initialize",
    "thread/start",
    "thread/resume",
    "thread/unsubscribe",
    "thread/name/set",
    "thread/settings/update",
    "turn/start",
    "turn/steer",
    "turn/interrupt",
}
READS = ("/list", "/read", "/get")
TAKE_INPUT = ("turn/start", "turn/steer")  # taken once for each clientUserMessageId
SUBSCRIBE = ("thread/start", "thread/resume", "thread/fork")
DURABLE = {"turn/started": "turn", "turn/completed": "turn", "item/started": "item", "item/completed": "item"}
LOST = (OSError, websocket.WebSocketException)

Message = dict[str, Any]


@click.command("app-server", context_settings={"ignore_unknown_options": True})
@click.option("--listen", default=STDIO, metavar="URL", help=f"Only {STDIO}, which is the default.")
@click.argument("ignored", nargs=-1, type=click.UNPROCESSED, metavar="")
def app_server(listen: str, ignored: tuple[str, ...]) -> None:
    """Speak the app-server protocol on stdin and stdout, for a server that runs elsewhere.

    The server is that of THREADHOUSE_URL, with the key THREADHOUSE_TOKEN. Other arguments of `codex app-server` are
    taken and ignored: the server has its own configuration. Ends when stdin ends; turns go on.
    """
    if listen != STDIO:
        raise click.UsageError(f"this command listens on {STDIO} only; `threadhouse up` serves WebSockets")
    url = os.environ.get("THREADHOUSE_URL") or DEFAULT_URL
    Bridge(url, os.environ.get("THREADHOUSE_TOKEN") or None, sys.stdout.buffer).run(sys.stdin.buffer)
    os._exit(0)  # the reader may be writing to stdout, which an orderly end would want to close


@dataclass(slots=True)
class Request:
    """A request of the client that has no reply yet. sends: how often it was sent."""

    id: int | str
    method: str
    params: Any
    data: bytes
    sends: int = 0

    @property
    def repeatable(self) -> bool:
        return self.method in REPEATABLE or self.method.endswith(READS)


@dataclass(slots=True)
class Question:
    """A request of the server that the client has. answer: what it said; the server may not have heard it."""

    thread_id: str
    answer: bytes | None = None


@dataclass(slots=True)
class Followed:
    """What the client has of a thread that it follows.

    last_id: of the last event
    resumed: the last resume was ours: what the server repeats behind it is news only as far as the client lacks it
    turn_id: of the last turn that it knows
    passed:  durable events of that turn, by method and id
    lengths: of the text that it has of each stream of an item, in characters
    usage:   the last token usage
    """

    last_id: str = NO_EVENT
    resumed: bool = False
    turn_id: str | None = None
    passed: set[tuple[str, ...]] = field(default_factory=set)
    lengths: Counter[tuple[str, ...]] = field(default_factory=Counter)
    usage: Any = None

    def reach(self, event_id: str | None) -> None:
        """An event, or the reply that subscribed, was taken."""
        if event_id is not None and _order(event_id) > _order(self.last_id):
            self.last_id = event_id

    def news(self, message: Message) -> Message | None:
        """The part of a notification that the client does not have; None: it has it all."""
        method, params, event_id = message["method"], message["params"], message.get("eventId")
        repeated = self.resumed and event_id in (None, self.last_id)
        self.reach(event_id)
        if method in DURABLE:
            item_or_turn_id: str = params[DURABLE[method]]["id"]
            key: tuple[str, ...] = (method, item_or_turn_id)
            if key in self.passed:
                return None
            if method == "turn/started":
                self.turn_id = item_or_turn_id
                self.passed.clear()
                self.lengths.clear()
            self.passed.add(key)
        elif method == "item/reasoning/summaryPartAdded":
            key = (method, params["itemId"], str(params["summaryIndex"]))
            if repeated and key in self.passed:
                return None
            self.passed.add(key)
        elif method == "thread/tokenUsage/updated":
            if repeated and params["tokenUsage"] == self.usage:
                return None
            self.usage = params["tokenUsage"]
        elif isinstance(params.get("delta"), str) and "itemId" in params:
            stream = (method, params["itemId"], str(params.get("contentIndex")), str(params.get("summaryIndex")))
            known = self.lengths[stream] if repeated else 0
            delta = params["delta"][known:]
            if known and not delta:
                return None
            self.lengths[stream] += len(delta)
            if known:
                return {**message, "params": {**params, "delta": delta}}
        return message

    def missed(self, thread: Message) -> Iterator[Message]:
        """What happened, by the thread as a reply shows it, in the turn that the client knows and in later ones.

        Of a thread in which it knows none: in the one that runs.
        """
        ids = [turn["id"] for turn in thread["turns"]]
        known = ids.index(self.turn_id) if self.turn_id in ids else len(ids)
        for place, turn in enumerate(thread["turns"]):
            is_news = ("turn/completed", turn["id"]) not in self.passed
            if is_news and (place >= known or turn["status"] == "inProgress"):
                for message in _events(thread["id"], turn):
                    if (told := self.news(message)) is not None:
                        yield told


def dial(url: str) -> sockets.socket:
    """A connection to the host of a ws:// or wss:// URL, not by way of the environment's proxies. Errors: OSError."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    plain = sockets.create_connection((parts.hostname or "", parts.port or (443 if secure else 80)), CONNECT_SECONDS)
    plain.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
    return ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname) if secure else plain


class Bridge:
    """One client on stdin and stdout, and its connection to the server.

    url:          http(s):// or ws(s)://
    output:       where lines for the client go
    wait_seconds: that requests wait for a server that is away
    """

    def __init__(self, url: str, token: str | None, output: BinaryIO, *, wait_seconds: float = WAIT_SECONDS) -> None:
        self._url = url.replace("http", "ws", 1) if url.startswith("http") else url
        self._headers = [f"Authorization: Bearer {token}"] if token else []
        self._output = output
        self._wait_seconds = wait_seconds
        self._writing = threading.Lock()
        self._lock = threading.Lock()  # of all that follows; never held while something is sent or written
        self._socket: websocket.WebSocket | None = None  # None: the server is away
        self._given_up = False  # it is away for so long that requests do not wait for it
        self._closing = False
        self._handshake: Any = None  # params of the client's `initialize`, once it was answered
        self._requests: dict[int | str, Request] = {}
        self._questions: dict[int | str, Question] = {}
        self._followed: dict[str, Followed] = {}

    def run(self, lines: Iterable[bytes]) -> None:
        """Until the lines end. Errors: Unavailable, Unauthorized (at the start)."""
        self._socket = self._connect()
        reader = threading.Thread(target=self._read, args=(self._socket,), name="socket reader", daemon=True)
        reader.start()
        for line in lines:
            self._from_client(line.strip())
        with self._lock:
            self._closing = True
            socket = self._socket
        if socket is not None:
            try:
                socket.send_close()
                reader.join(GOODBYE_SECONDS)
            except LOST:
                pass

    # -- from the client

    def _from_client(self, data: bytes) -> None:
        """One line; what is no JSON object is dropped, as the original does."""
        try:
            message = decode(data)
        except ValueError:
            return
        if not isinstance(message, dict):
            return
        if type(message.get("id")) in (int, str) and isinstance(message.get("method"), str):
            self._take_request(message, data)
            return
        with self._lock:
            question = self._questions.get(message["id"]) if type(message.get("id")) is int else None
            if question is not None:
                question.answer = data
            socket = self._socket
        if socket is not None:
            self._send(socket, data)

    def _take_request(self, message: Message, data: bytes) -> None:
        method, params = message["method"], message.get("params")
        if method in TAKE_INPUT and isinstance(params, dict) and params.get("clientUserMessageId") is None:
            params["clientUserMessageId"] = new_id()  # so that it may be sent twice
            data = orjson.dumps(message)
        if len(data) > MAX_MESSAGE_BYTES:
            self._refuse(message["id"], {"code": -32600, "message": "a message may have 16 MiB"})
            return
        request = Request(message["id"], method, params, data)
        with self._lock:
            socket, given_up = self._socket, self._given_up
            if socket is not None:
                request.sends += 1
            if not given_up:
                self._requests[request.id] = request
        if given_up:
            self._refuse(request.id, _unavailable("the server is away"))
        elif socket is not None:
            self._send(socket, data)

    def _send(self, socket: websocket.WebSocket, data: bytes) -> None:
        try:
            socket.send(data, websocket.ABNF.OPCODE_TEXT)
        except LOST:
            pass  # the reader sees it too

    # -- from the server

    def _read(self, socket: websocket.WebSocket) -> None:
        """The second thread: pass on what the server says, on one connection after the other."""
        try:
            while True:
                try:
                    while True:
                        self._from_server(*_receive(socket))
                except LOST:
                    self._lose(socket)
                if self._closing:
                    return
                socket = self._reconnect()
        except ThreadhouseError as error:
            click.echo(f"threadhouse: {error}", err=True)
        except Exception:  # noqa: BLE001 - the edge of a thread without which nothing goes on
            traceback.print_exc()
        os._exit(1)  # the main thread waits for stdin

    def _from_server(self, data: bytes, message: Message) -> None:
        with self._lock:
            if "method" not in message:
                passed_on = self._take_reply(message)
            elif "id" in message:
                passed_on = self._take_question(message)
            else:
                passed_on = self._take_notification(message)
        if passed_on is message:
            self._write(data)
        elif passed_on is not None:
            self._write(orjson.dumps(passed_on))

    def _take_reply(self, message: Message) -> Message | None:
        request = self._requests.pop(message["id"], None)
        result = message.get("result")
        if request is None or not isinstance(result, dict):
            return message if request else None
        if request.method == "initialize":
            self._handshake = request.params
        elif request.method in SUBSCRIBE:
            followed = self._followed.setdefault(result["thread"]["id"], Followed())
            followed.reach(message.get("eventId"))
            followed.resumed = False
        elif request.method == "thread/unsubscribe":
            self._followed.pop(request.params["threadId"], None)
        elif request.method == "turn/start" and (one := self._followed.get(request.params["threadId"])):
            one.turn_id = result["turn"]["id"]
        return message

    def _take_question(self, message: Message) -> Message | None:
        thread_id: str = message["params"].get("threadId", "")
        followed = self._followed.get(thread_id)
        if followed is not None:
            if followed.resumed and "eventId" not in message and message["id"] in self._questions:
                return None  # the client has it; an answer that was lost is sent again by `_restore`
            followed.reach(message.get("eventId"))
        self._questions[message["id"]] = Question(thread_id)
        return message

    def _take_notification(self, message: Message) -> Message | None:
        params = message.get("params") or {}
        thread_id: str = params["thread"]["id"] if "thread" in params else params.get("threadId", "")
        if message["method"] == "serverRequest/resolved":
            self._questions.pop(params["requestId"], None)
        elif message["method"] == "turn/completed":
            self._questions = {key: one for key, one in self._questions.items() if one.thread_id != thread_id}
        followed = self._followed.get(thread_id)
        return message if followed is None else followed.news(message)

    # -- to the client

    def _write(self, data: bytes) -> None:
        with self._writing:
            try:
                self._output.write(data + b"\n")
                self._output.flush()
            except OSError:
                os._exit(0)  # nobody reads it: the client is gone

    def _refuse(self, request_id: int | str, error: Message) -> None:
        self._write(orjson.dumps({"id": request_id, "error": error}))

    # -- connections

    def _connect(self) -> websocket.WebSocket:
        """Errors: Unauthorized, Unavailable."""
        try:
            socket = websocket.create_connection(
                self._url,
                header=self._headers,
                suppress_origin=True,
                socket=dial(self._url),
                timeout=CONNECT_SECONDS,
                enable_multithread=True,
                skip_utf8_validation=True,  # it is slow, and JSON is checked anyway
            )
        except websocket.WebSocketBadStatusException as error:
            if error.status_code == 401:
                raise Unauthorized(f"{self._url} wants a valid key in THREADHOUSE_TOKEN") from None
            raise Unavailable(f"no threadhouse at {self._url}: HTTP {error.status_code}") from None
        except (*LOST, ValueError) as error:
            raise Unavailable(f"no server answers at {self._url} (THREADHOUSE_URL names another): {error}") from None
        socket.settimeout(SILENCE_SECONDS)
        return socket

    def _lose(self, socket: websocket.WebSocket) -> None:
        """The connection is over: what must not be sent twice is told to have failed."""
        socket.shutdown()  # type: ignore[no-untyped-call]
        with self._lock:
            self._socket = None
        self._give_up(lambda request: request.sends > 0 and not (request.repeatable and request.sends < MAX_SENDS))

    def _give_up(self, hopeless: Callable[[Request], bool]) -> None:
        with self._lock:
            requests = [request for request in self._requests.values() if hopeless(request)]
            for request in requests:
                del self._requests[request.id]
        for request in requests:
            self._refuse(request.id, _unavailable("the connection broke before there was an answer"))

    def _reconnect(self) -> websocket.WebSocket:
        """A new connection on which everything is as it was on the last one. Errors: Unauthorized."""
        patience = time.monotonic() + self._wait_seconds
        pause_seconds, longest_seconds = AGAIN_SECONDS
        while True:
            try:
                socket = self._connect()
                try:
                    self._restore(socket)
                    return socket
                except (*LOST, Unavailable):
                    self._lose(socket)
            except Unavailable:
                pass
            if time.monotonic() > patience:
                self._given_up = True
                self._give_up(lambda request: True)
            time.sleep(pause_seconds * random.uniform(0.5, 1.0))  # many clients come back at once
            pause_seconds = min(pause_seconds * 2, longest_seconds)

    def _restore(self, socket: websocket.WebSocket) -> None:
        """Handshake, input, places in the threads, then the other requests. Errors: LOST, Unavailable.

        Input first: the reply to turn/start goes before the events of its turn.
        """
        if self._handshake is not None:
            self._ask(socket, "initialize", self._handshake)
            self._must_send(socket, orjson.dumps({"method": "initialized"}))
        with self._lock:
            requests = [request for request in self._requests.values() if request.method in TAKE_INPUT]
            threads = list(self._followed)
        for request in requests:
            request.sends += 1
            self._must_send(socket, request.data)
            while request.id in self._requests:
                self._from_server(*_receive(socket))
        for thread_id in threads:
            self._resume(socket, thread_id)
        with self._lock:
            self._socket, self._given_up = socket, False
            requests = list(self._requests.values())
            answers = [question.answer for question in self._questions.values() if question.answer]
            for request in requests:
                request.sends += 1
        for data in [request.data for request in requests] + answers:
            self._must_send(socket, data)

    def _resume(self, socket: websocket.WebSocket, thread_id: str) -> None:
        """Follow a thread from where the client is; when that is gone from the log, tell what the turns show."""
        followed = self._followed[thread_id]
        wanted = {"threadId": thread_id, "excludeTurns": True, "afterEventId": followed.last_id}
        reply = self._ask(socket, "thread/resume", wanted)
        is_over = "error" in reply  # archived or deleted meanwhile
        if is_over:
            reply = self._ask(socket, "thread/read", {"threadId": thread_id, "includeTurns": True})
        messages: list[Message] = []
        with self._lock:
            followed.resumed = True
            thread = reply.get("result", {"thread": {"turns": []}})["thread"]
            if thread["turns"]:
                gone = [key for key, one in self._questions.items() if one.thread_id == thread_id and not one.answer]
                for key in gone:  # those that still wait for an answer are asked again
                    del self._questions[key]
                    messages.append(_notification("serverRequest/resolved", threadId=thread_id, requestId=key))
                messages += followed.missed(thread)
            followed.reach(reply.get("eventId"))
            if is_over:
                del self._followed[thread_id]
                method = "thread/archived" if "result" in reply else "thread/deleted"
                messages.append(_notification(method, threadId=thread_id))
        for message in messages:
            self._write(orjson.dumps(message))

    def _ask(self, socket: websocket.WebSocket, method: str, params: Any) -> Message:
        """The reply to a request of our own. Errors: LOST, Unavailable (the server cannot serve it now)."""
        request_id = new_id()
        self._must_send(socket, orjson.dumps({"id": request_id, "method": method, "params": params}))
        while True:
            data, message = _receive(socket)
            if message.get("id") == request_id:
                if message.get("error", {}).get("data"):
                    raise Unavailable(message["error"]["message"])
                return message
            self._from_server(data, message)

    def _must_send(self, socket: websocket.WebSocket, data: bytes) -> None:
        socket.send(data, websocket.ABNF.OPCODE_TEXT)


def _receive(socket: websocket.WebSocket) -> tuple[bytes, Message]:
    """The next frame of the server. Errors: LOST."""
    while True:
        opcode, data = socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise websocket.WebSocketConnectionClosedException("closed by the server")
        if opcode == websocket.ABNF.OPCODE_TEXT:
            return data, orjson.loads(data)


def _events(thread_id: str, turn: Message) -> Iterator[Message]:
    """The events of a turn so far, in their order (PROTOCOL section 7); a message has its text as one delta."""
    ids = {"threadId": thread_id, "turnId": turn["id"]}
    begun: Message = {"items": [], "status": "inProgress", "error": None, "completedAt": None, "durationMs": None}
    yield _notification("turn/started", threadId=thread_id, turn=turn | begun)
    for item in turn["items"]:
        is_message = item["type"] == "agentMessage"
        empty = {"completedAtMs": None} | ({"text": ""} if is_message else {})
        yield _notification("item/started", **ids, startedAtMs=item["startedAtMs"], item=item | empty)
        if is_message:
            yield _notification("item/agentMessage/delta", **ids, itemId=item["id"], delta=item["text"])
        yield _notification("item/completed", **ids, completedAtMs=item["completedAtMs"], item=item)
    if turn["status"] != "inProgress":
        status = {"type": "systemError" if turn["status"] == "failed" else "idle"}
        yield _notification("thread/status/changed", threadId=thread_id, status=status)
        yield _notification("turn/completed", threadId=thread_id, turn=turn)


def _notification(method: str, **params: Any) -> Message:
    return {"method": method, "params": params, "emittedAtMs": now_ms()}


def _unavailable(message: str) -> Message:
    """The error that clients try again after; the official SDK looks for "server_overloaded"."""
    data = {"codexErrorInfo": "server_overloaded", "retryAfterMs": RETRY_AFTER_MS}
    return {"code": -32001, "message": f"{message}; try again", "data": data}


def _order(event_id: str) -> tuple[int, int]:
    ms, _, number = event_id.partition("-")
    return int(ms), int(number)
