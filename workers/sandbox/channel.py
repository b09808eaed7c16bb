"""Messages between a worker and its tool runner: JSON, bytes and open descriptors over one Unix socket.

Plain data only, and never more of it than expected: a worker reads what a runner says that may have been taken over.
A message is two lengths, its JSON, its bytes; descriptors travel with the lengths.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LENGTHS = struct.Struct("!II")
MAX_MESSAGE_BYTES = 256 << 20
MAX_DESCRIPTORS = 4
STAT_MORE = ("st_atime_ns", "st_mtime_ns", "st_ctime_ns", "st_blocks", "st_blksize", "st_rdev")


class Channel:
    """One end. Errors of every call: OSError, also for a message cut short; ValueError, for what is no message."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def set_timeout(self, seconds: float | None) -> None:
        self._socket.settimeout(seconds)

    def is_fresh(self) -> bool:
        """Whether the other end is there and has said nothing."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Values: what JSON has, and bytes, paths, tuples and stat results. The descriptors stay the sender's."""
        blobs: list[bytes] = []
        text = json.dumps({key: _pack(value, blobs) for key, value in message.items()}).encode()
        data = b"".join(blobs)
        lengths = LENGTHS.pack(len(text), len(data))
        if fds:
            socket.send_fds(self._socket, [lengths], list(fds))
            self._socket.sendall(text + data)
        else:
            self._socket.sendall(lengths + text + data)

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and its descriptors; None at the end."""
        fds: list[int] = []
        try:
            lengths = self._read(LENGTHS.size, fds)
            if not lengths:
                return None
            text_bytes, data_bytes = LENGTHS.unpack(lengths)
            if text_bytes + data_bytes > MAX_MESSAGE_BYTES:
                raise ValueError("a message that is too long")
            message = json.loads(self._whole(text_bytes))
            data = self._whole(data_bytes)
            return {key: _unpack(value, data) for key, value in message.items()}, fds
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, KeyError | TypeError | AttributeError | IndexError):
                raise ValueError("a message that makes no sense") from error
            raise

    def _read(self, size: int, fds: list[int]) -> bytes:
        """Exactly that, or nothing at the end."""
        data, received, _, _ = socket.recv_fds(self._socket, size, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        fds += received
        return data + self._whole(size - len(data)) if data else b""

    def _whole(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise ConnectionResetError("a message cut short")
            view = view[count:]
        return bytes(data)


def _pack(value: Any, blobs: list[bytes]) -> Any:
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, bytes):
        blobs.append(value)
        return {"bytes": [sum(map(len, blobs[:-1])), len(value)]}
    if isinstance(value, os.stat_result):  # also a tuple
        return {"stat": [list(value), {name: getattr(value, name) for name in STAT_MORE}]}
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
