"""What servers send on its way into this process: made storable, bounded, and taken in only as fast as others can bear.

All that comes from a server, over whichever transport, passes here before anything else sees it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import orjson
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.client._transport import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from shared.protocol import frames
from workers.mcp.lines import PAUSE_SECONDS, Ending

MAX_SENDING = 4  # messages that a server has not taken; until it does, nothing more is taken from it
MAX_ERROR_CHARACTERS = 64 * 1024  # of an error's message, and of its data


class Output(ObjectSendStream[SessionMessage]):
    """The messages to a server. sending: number of those that it has not taken yet"""

    def __init__(self, write: WriteStream[SessionMessage]) -> None:
        self.sending = 0
        self._write = write

    async def send(self, item: SessionMessage) -> None:
        self.sending += 1
        try:
            await self._write.send(item)
        finally:
            self.sending -= 1

    async def aclose(self) -> None:
        await self._write.aclose()


class Input(ObjectReceiveStream[SessionMessage | Exception]):
    """The messages from a server. ending: set at their end"""

    def __init__(self, read: ReadStream[SessionMessage | Exception], output: Output, ending: Ending) -> None:
        self._read = read
        self._output = output
        self._ending = ending

    async def receive(self) -> SessionMessage | Exception:
        while self._output.sending > MAX_SENDING:
            await asyncio.sleep(PAUSE_SECONDS)
        try:
            item = await self._read.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._ending.set()
            raise
        if isinstance(item, SessionMessage):
            item = SessionMessage(_taken_in(item.message), item.metadata)
        return item

    async def aclose(self) -> None:
        await self._read.aclose()


def _taken_in(message: JSONRPCMessage) -> JSONRPCMessage:
    """Return a message as this process may keep it."""
    try:
        match message:
            case JSONRPCResponse():
                return message.model_copy(update={"result": _storable(message.result)[0]})
            case JSONRPCError(error=error):
                text, _ = _storable(error.message[:MAX_ERROR_CHARACTERS])
                data, size = _storable(error.data)
                code = error.code if abs(error.code) < 1 << 31 else INTERNAL_ERROR
                kept = ErrorData(code=code, message=text, data=data if size <= MAX_ERROR_CHARACTERS else None)
                return message.model_copy(update={"error": kept})
            case _:
                return message.model_copy(update={"params": _storable(message.params)[0]})
    except ValueError as problem:
        if isinstance(message, JSONRPCRequest | JSONRPCNotification):
            return message.model_copy(update={"params": None})
        reason = ErrorData(code=INTERNAL_ERROR, message=f"the server's answer was dropped: {problem}")
        return JSONRPCError(jsonrpc="2.0", id=message.id, error=reason)


def _storable(value: object) -> tuple[Any, int]:
    """Return a JSON value as frames.decode returns it, and its size in bytes. Errors: ValueError."""
    try:
        raw = orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate
        raw = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    return frames.decode(raw), len(raw)
