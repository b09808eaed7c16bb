"""A synchronous client of the protocol: JSON-RPC over a WebSocket. It records every frame in order of arrival."""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import websocket

from tests.support import streams
from tests.support.contract import Recording

DEADLINE_S = 60.0
CLOSE_SECONDS = 5.0


class RpcError(Exception):
    """An error response. code, message, data: the members of the error object."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]
        self.message: str = error["message"]
        self.data: Any = error.get("data")


class ConnectionLost(Exception):
    """The connection has ended. code: the code of the close frame, or None."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class ProtocolClient:
    """A connection.

    received:  every frame in the order of arrival: replies, notifications, server requests
    answer:    returns the result that answers a server request, or None for no answer
    lost:      why the connection has ended, or None
    """

    def __init__(self, socket: websocket.WebSocket) -> None:
        self.recording = Recording(wired=True)
        self._test = os.environ.get("PYTEST_CURRENT_TEST", "")
        self.received = self.recording.received
        self.answer: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda request: None
        self.lost: ConnectionLost | None = None
        self._socket: Any = socket
        self._ids = itertools.count(1)
        self._arrived = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def initialize(self, name: str = "test_client", **capabilities: Any) -> dict[str, Any]:
        """Do the handshake. Return the result of `initialize`."""
        params = {"clientInfo": {"name": name, "version": "1"}, "capabilities": capabilities or None}
        result = self.request("initialize", params)
        self.notify("initialized")
        return result

    def request(self, method: str, params: Any = None, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Send a request and wait for its result. Errors: RpcError, ConnectionLost, TimeoutError."""
        return self.result(self.send_request(method, params), deadline_s)

    def send_request(self, method: str, params: Any = None) -> int:
        """Send a request without waiting. Return its id."""
        request_id = next(self._ids)
        self.send({"id": request_id, "method": method, "params": {} if params is None else params})
        return request_id

    def result(self, request_id: int | str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait for the reply to a request. Return its result. Errors: RpcError, ConnectionLost, TimeoutError."""
        reply = self.wait_for(lambda frame: frame.get("id") == request_id and "method" not in frame, deadline_s)
        if "error" in reply:
            raise RpcError(reply["error"])
        result: dict[str, Any] = reply["result"]
        return result

    def notify(self, method: str, params: Any = None) -> None:
        self.send({"method": method} | ({} if params is None else {"params": params}))

    def send(self, frame: Any) -> None:
        """Send a JSON value as one frame; a string is sent unchanged."""
        self.recording.note(frame)
        self._socket.send(frame if isinstance(frame, str) else json.dumps(frame))

    def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        self._socket.send_binary(data)

    @property
    def notifications(self) -> list[dict[str, Any]]:
        """The notifications and server requests so far, in order."""
        return [frame for frame in list(self.received) if "method" in frame]

    def methods(self) -> list[str]:
        return [frame["method"] for frame in self.notifications]

    def wait_for(
        self, wanted: Callable[[dict[str, Any]], bool], deadline_s: float = DEADLINE_S, *, after: int = 0
    ) -> dict[str, Any]:
        """Return the first frame from index `after` on that `wanted` accepts. Errors: ConnectionLost, TimeoutError."""
        until_s = time.monotonic() + deadline_s
        index = after
        with self._arrived:
            while True:
                while index < len(self.received):
                    if wanted(self.received[index]):
                        return self.received[index]
                    index += 1
                if self.lost:
                    raise self.lost
                if not self._arrived.wait(until_s - time.monotonic()):
                    raise TimeoutError(f"not received in {deadline_s} s; last: {self.received[-3:]}")

    def wait_for_method(self, method: str, deadline_s: float = DEADLINE_S, *, after: int = 0) -> dict[str, Any]:
        return self.wait_for(lambda frame: frame.get("method") == method, deadline_s, after=after)

    def wait_until_lost(self, deadline_s: float = DEADLINE_S) -> ConnectionLost:
        """Wait until the connection has ended. Return why. Errors: TimeoutError."""
        with self._arrived:
            if not self._arrived.wait_for(lambda: self.lost is not None, deadline_s):
                raise TimeoutError(f"still connected after {deadline_s} s")
            assert self.lost is not None
            return self.lost

    def close(self) -> None:
        """Close the connection as the protocol asks, or drop it when the server does not answer."""
        streams.save(self, self._test)
        with suppress(OSError, websocket.WebSocketException):  # it has ended already
            self._socket.send_close()
        with self._arrived:
            self._arrived.wait_for(lambda: self.lost is not None, CLOSE_SECONDS)
        self.drop()

    def drop(self) -> None:
        """Close the connection without a close frame. The reading thread notices it at once, and so does the server."""
        streams.save(self, self._test)
        with suppress(OSError, AttributeError):  # it has ended already
            self._socket.sock.shutdown(socket.SHUT_RDWR)
        self._socket.shutdown()

    def _read(self) -> None:
        code, reason = None, "the connection broke"
        try:
            while True:
                opcode, data = self._socket.recv_data()
                if opcode == websocket.ABNF.OPCODE_CLOSE:
                    code, reason = int.from_bytes(data[:2], "big") if data else None, data[2:].decode()
                    break
                if opcode == websocket.ABNF.OPCODE_TEXT:
                    self._receive(json.loads(data))
        except (OSError, websocket.WebSocketException) as error:
            reason = str(error)
        with self._arrived:
            self.lost = ConnectionLost(code, reason)
            self._arrived.notify_all()

    def _receive(self, frame: dict[str, Any]) -> None:
        with self._arrived:
            self.received.append(frame)
            self._arrived.notify_all()
        if "id" in frame and "method" in frame:
            result = self.answer(frame)
            if result is not None:
                self.send({"id": frame["id"], "result": result})


def dial(url: str, receive_buffer_bytes: int | None = None) -> socket.socket:
    """Open a TCP connection to the host of a URL. The WebSocket library would use the proxies of the environment."""
    parts = urlsplit(url)
    dialled = socket.socket()
    dialled.settimeout(DEADLINE_S)
    if receive_buffer_bytes is not None:
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    dialled.connect((parts.hostname, parts.port))
    return dialled


def connect(url: str, token: str | None = None, *, headers: dict[str, str] | None = None) -> ProtocolClient:
    """Open a connection without the handshake. Errors: websocket.WebSocketBadStatusException (status_code)."""
    sent = [f"{name}: {value}" for name, value in (headers or {}).items()]
    if token is not None:
        sent.append(f"Authorization: Bearer {token}")
    opened = websocket.create_connection(
        url, header=sent, suppress_origin=True, socket=dial(url), timeout=DEADLINE_S, enable_multithread=True
    )
    opened.settimeout(None)
    return ProtocolClient(opened)
