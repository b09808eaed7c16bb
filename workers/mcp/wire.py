"""What servers send on its way into this process: made storable, bounded, and taken in only as fast as others can bear.

All that comes from a server, over whichever transport, passes here before anything else sees it.
"""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any

import anyio
import orjson
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
from workers.mcp.lines import PAUSE_SECONDS, Ending, Pauses

MAX_SENDING = 4  # messages that a server has not taken; until it does, nothing more is taken from it
MAX_ERROR_CHARACTERS = 64 * 1024  # of an error's message, and of its data
BYTES_OF_A_LINE = 4096  # a longer message counts as several lines


class _Stream:
    """A context manager that closes a stream."""

    def __init__(self, stream: ReadStream[Any] | WriteStream[Any]) -> None:
        self._stream = stream

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()


class Output(_Stream):
    """The messages to a server. sending: number of those that it has not taken yet"""

    def __init__(self, write: WriteStream[SessionMessage]) -> None:
        super().__init__(write)
        self.sending = 0
        self._write = write

    async def send(self, item: SessionMessage, /) -> None:
        self.sending += 1
        try:
            await self._write.send(item)
        finally:
            self.sending -= 1


class Input(_Stream):
    """The messages from a server. ending: set at their end"""

    def __init__(self, read: ReadStream[SessionMessage | Exception], output: Output, ending: Ending) -> None:
        super().__init__(read)
        self._read = read
        self._output = output
        self._ending = ending
        self._pauses = Pauses()
        self._lines = 0  # of the message before

    async def receive(self) -> SessionMessage | Exception:
        await self._pauses.after(self._lines)
        while self._output.sending > MAX_SENDING:
            await asyncio.sleep(PAUSE_SECONDS)
        try:
            item = await self._read.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._ending.set()
            raise
        size = 0
        if isinstance(item, SessionMessage):
            message, size = _taken_in(item.message)
            item = SessionMessage(message, item.metadata)
        self._lines = 1 + size // BYTES_OF_A_LINE
        return item

    def __aiter__(self) -> Input:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


def _taken_in(message: JSONRPCMessage) -> tuple[JSONRPCMessage, int]:
    """Return a message as this process may keep it, and its size in bytes."""
    try:
        match message:
            case JSONRPCResponse():
                result, size = _storable(message.result)
                return message.model_copy(update={"result": result}), size
            case JSONRPCError(error=error):
                text, _ = _storable(error.message[:MAX_ERROR_CHARACTERS])
                data, size = _storable(error.data)
                code = error.code if abs(error.code) < 1 << 31 else INTERNAL_ERROR
                kept = ErrorData(code=code, message=text, data=data if size <= MAX_ERROR_CHARACTERS else None)
                return message.model_copy(update={"error": kept}), size
            case _:
                params, size = _storable(message.params)
                return message.model_copy(update={"params": params}), size
    except ValueError as problem:
        if isinstance(message, JSONRPCRequest | JSONRPCNotification):
            return message.model_copy(update={"params": None}), 0
        reason = ErrorData(code=INTERNAL_ERROR, message=f"the server's answer was dropped: {problem}")
        return JSONRPCError(jsonrpc="2.0", id=message.id, error=reason), 0


def _storable(value: object) -> tuple[Any, int]:
    """Return a JSON value as frames.decode returns it, and its size in bytes. Errors: ValueError."""
    try:
        raw = orjson.dumps(value)
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate
        raw = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    return frames.decode(raw), len(raw)
