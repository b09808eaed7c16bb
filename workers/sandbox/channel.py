"""Sends messages between a worker and its tool runner: JSON, bytes and open descriptors over one Unix socket.

Messages are plain data of a bounded size, because a worker may be reading from a runner that an attacker controls. A
message consists of two lengths, its JSON, and its bytes; descriptors travel with the lengths.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

LENGTHS = struct.Struct("!II")
MAX_MESSAGE_BYTES = 256 << 20
MAX_DESCRIPTORS = 4
STAT_FIELDS = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_blocks", "st_blksize", "st_rdev")


class Channel:
    """One end of a connection.

    Errors of every method: OSError, also for a truncated message; ValueError for data that is not a message
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._closing = threading.Lock()

    def fileno(self) -> int:
        return self._socket.fileno()

    def set_timeout(self, seconds: float) -> None:
        """Bound how long each send and receive waits for the other end."""
        self._socket.settimeout(seconds)

    @property
    def is_closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        with self._closing:
            self._socket.close()

    def shut_down(self) -> None:
        """End the connection, from any thread; whoever waits for a message sees its end."""
        with self._closing, suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def is_quiet(self) -> bool:
        """Return whether the other end is open and has sent nothing."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def send(self, message: Mapping[str, object], fds: Sequence[int] = ()) -> None:
        """Send a message of JSON, bytes, paths, tuples and stat results. The sender keeps its descriptors."""
        blobs: list[bytes] = []
        text = json.dumps({key: _pack(value, blobs) for key, value in message.items()}).encode()
        data = b"".join(blobs)
        lengths = LENGTHS.pack(len(text), len(data))
        if fds:
            socket.send_fds(self._socket, [lengths], list(fds))
            self._socket.sendall(text + data)
        else:
            self._socket.sendall(lengths + text + data)

    def receive(self) -> tuple[Mapping[str, object], list[int]] | None:
        """Return the next message and its descriptors; None at the end of the connection."""
        fds: list[int] = []
        try:
            lengths = self._read(LENGTHS.size, fds)
            if not lengths:
                return None
            text_bytes, data_bytes = LENGTHS.unpack(lengths)
            if text_bytes + data_bytes > MAX_MESSAGE_BYTES:
                raise ValueError("the message is too long")
            message = json.loads(self._read_exactly(text_bytes))
            data = self._read_exactly(data_bytes)
            return {key: _unpack(value, data) for key, value in message.items()}, fds
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, KeyError | TypeError | AttributeError | IndexError):
                raise ValueError("the message is malformed") from error
            raise

    def _read(self, size: int, fds: list[int]) -> bytes:
        """Return exactly that many bytes, or none at the end of the connection. fds: gets the descriptors."""
        data, received, _, _ = socket.recv_fds(self._socket, size, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        fds += received
        return data + self._read_exactly(size - len(data)) if data else b""

    def _read_exactly(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise ConnectionResetError("the message is truncated")
            view = view[count:]
        return bytes(data)


def _pack(value: Any, blobs: list[bytes]) -> Any:
    """Return a value as JSON, each kind that JSON lacks as {kind: …}; the bytes in it are appended to blobs."""
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, bytes):
        blobs.append(value)
        return {"bytes": [sum(map(len, blobs[:-1])), len(value)]}
    if isinstance(value, os.stat_result):  # also a tuple
        return {"stat": [list(value), {name: getattr(value, name) for name in STAT_FIELDS}]}
    if isinstance(value, tuple):
        return {"tuple": [_pack(one, blobs) for one in value]}
    if isinstance(value, list):
        return [_pack(one, blobs) for one in value]
    if isinstance(value, dict):
        return {"dict": {key: _pack(one, blobs) for key, one in value.items()}}
    return value


def _unpack(value: Any, data: bytes) -> Any:
    if isinstance(value, list):
        return [_unpack(one, data) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, packed),) = value.items()
    if kind == "path":
        return Path(packed)
    if kind == "bytes":
        start, length = packed
        return data[start : start + length]
    if kind == "stat":
        return os.stat_result(packed[0], packed[1])
    if kind == "tuple":
        return tuple(_unpack(one, data) for one in packed)
    return {key: _unpack(one, data) for key, one in packed.items()}
