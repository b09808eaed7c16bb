"""A client of the app-server protocol for load tests: connects, starts a thread, runs a turn.

Each turn records its times (time.monotonic) and its deltas in a Turn.
"""

import asyncio
import re
import socket
import time
from dataclasses import dataclass, field

import orjson
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

STAMP = re.compile(r"~(\d{12})")


class PeerError(Exception):
    """The server answered with an error, or closed the connection."""


@dataclass
class Turn:
    """The times and deltas of one turn, all times by time.monotonic."""

    sent: float = 0.0  # request sent
    accepted: float = 0.0  # response to turn/start read
    first: float = 0.0  # first delta read
    done: float = 0.0  # turn/completed read
    messages: int = 0  # delta messages
    chars: int = 0  # characters of the deltas
    first_stamp: float = 0.0  # when the model wrote its first delta
    relay: list = field(default_factory=list)  # seconds from the model's write to our read, per delta

    def delta(self, text, now):
        if not self.messages:
            self.first = now
        self.messages += 1
        self.chars += len(text)
        for stamp in STAMP.findall(text):
            at = int(stamp) / 1e6
            if not self.first_stamp:
                self.first_stamp = at
            self.relay.append(now - at)


class _Listener(WSListener):
    def __init__(self, client):
        self.client = client
        self.parts = []

    def on_ws_connected(self, transport: WSTransport):
        self.client.transport = transport
        self.quick = None  # the socket, when each segment is to be acknowledged at once
        if self.client.options.get("quickack"):
            self.quick = transport.underlying_transport.get_extra_info("socket")
            self.quick_ack()

    def quick_ack(self):
        """Acknowledge at once, to show what a server without TCP_NODELAY loses to delayed acks."""
        self.quick.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame):
        kind = frame.msg_type
        if self.quick:
            self.quick_ack()
        if kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            if frame.fin and not self.parts:
                self.client.on_message(orjson.loads(frame.get_payload_as_memoryview()))
            else:
                self.parts.append(frame.get_payload_as_bytes())
                if frame.fin:
                    whole, self.parts = b"".join(self.parts), []
                    self.client.on_message(orjson.loads(whole))
        elif kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport):
        self.client.on_closed()


class Client:
    """A JSON-RPC client of the app-server protocol; one WebSocket, any number of threads."""

    def __init__(self, url, options):
        self.url = url
        self.options = options
        self.headers = {"Authorization": f"Bearer {options['token']}"} if options.get("token") else None
        self.serial = 0
        self.waiting = {}
        self.turns = {}  # thread id -> (Turn, future) of the running turn
        self.observer = None  # called with every notification, for tests
        self.closed = False

    async def open(self):
        await ws_connect(lambda: _Listener(self), self.url, extra_headers=self.headers, max_frame_size=1 << 26)
        info = {"name": "bench", "title": "bench", "version": "1"}
        await self.call("initialize", {"clientInfo": info})
        self.notify("initialized")

    async def close(self):
        if not self.closed:
            self.transport.disconnect(graceful=False)

    def on_closed(self):
        self.closed = True
        futures = list(self.waiting.values()) + [f for _, f in self.turns.values()]
        for future in futures:
            if not future.done():
                future.set_exception(PeerError("connection closed"))

    def send(self, message):
        if self.closed:
            raise PeerError("connection closed")
        self.transport.send(WSMsgType.TEXT, orjson.dumps(message))

    def notify(self, method):
        self.send({"jsonrpc": "2.0", "method": method} if self.options.get("jsonrpc") else {"method": method})

    async def call(self, method, params):
        self.serial += 1
        future = asyncio.get_running_loop().create_future()
        self.waiting[self.serial] = future
        self.send({"id": self.serial, "method": method, "params": params})
        return await future

    def on_message(self, message):
        now = time.monotonic()
        method = message.get("method")
        if method is None:
            future = self.waiting.pop(message["id"], None)
            if future and not future.done():
                error = message.get("error")
                if error:
                    future.set_exception(PeerError(f"{error.get('code')}: {error.get('message')}"))
                else:
                    future.set_result(message.get("result"))
            return
        params = message.get("params") or {}
        entry = self.turns.get(params.get("threadId"))
        if entry:
            turn, future = entry
            if method == "item/agentMessage/delta":
                turn.delta(params["delta"], now)
            elif method == "turn/completed" and not future.done():
                turn.done = now
                status = params["turn"]["status"]
                if status == "completed":
                    future.set_result(turn)
                else:
                    error = params["turn"].get("error") or {}
                    future.set_exception(PeerError(f"turn {status}: {error.get('message')}"))
        if self.observer:
            self.observer(message)
        if "id" in message:  # a server request, such as an approval request
            self.send({"id": message["id"], "result": {"decision": "accept"}})

    async def start_thread(self):
        params = {"approvalPolicy": "never", "sandbox": self.options.get("sandbox", "danger-full-access")}
        if self.options.get("cwd"):
            params["cwd"] = self.options["cwd"]
        result = await self.call("thread/start", params)
        return result["thread"]["id"]

    async def turn(self, thread, text):
        turn = Turn()
        future = asyncio.get_running_loop().create_future()
        self.turns[thread] = (turn, future)
        try:
            turn.sent = time.monotonic()
            params = {"threadId": thread, "input": [{"type": "text", "text": text}]}
            await self.call("turn/start", params)
            turn.accepted = time.monotonic()
            return await future
        finally:
            del self.turns[thread]
