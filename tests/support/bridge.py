"""Spawn `threadhouse app-server` as its clients do, and speak the protocol over its stdin and stdout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import websocket

from tests.support.deployment import clean_environ
from tests.support.protocol_client import ProtocolClient

SECONDS = 60.0


class Pipes:
    """Two pipes with the interface of a WebSocket, one line per frame, for `ProtocolClient`."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source = source
        self._sink = sink

    def send(self, text: str) -> None:
        self._sink.write(text.encode() + b"\n")
        self._sink.flush()

    def recv_data(self) -> tuple[int, bytes]:
        line = self._source.readline()
        if not line:
            raise OSError("end of input")
        return websocket.ABNF.OPCODE_TEXT, line

    def send_close(self) -> None:
        self._sink.close()

    def shutdown(self) -> None:
        """Nothing is left to shut down."""


class Spawned:
    """A spawned process. client: a protocol client over its pipes."""

    def __init__(self, url: str, token: str | None, arguments: tuple[str, ...]) -> None:
        environ = clean_environ() | {"THREADHOUSE_URL": url} | ({"THREADHOUSE_TOKEN": token} if token else {})
        command = [sys.executable, "-P", "-m", "api.cli", *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environ, cwd=os.getcwd())
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        pipes: Any = Pipes(self.process.stdout, self.process.stdin)
        self.client = ProtocolClient(pipes)

    def end(self) -> int:
        """Close its stdin and wait for its end. Return the exit code."""
        self.client.close()
        return self.process.wait(SECONDS)

    def error(self) -> str:
        """Wait for its end. Return what it wrote to stderr."""
        self.process.wait(SECONDS)
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


@contextmanager
def spawn(url: str, token: str | None = None, arguments: tuple[str, ...] = ("app-server",)) -> Iterator[Spawned]:
    """Spawn the process; it is killed at the end of the block."""
    spawned = Spawned(url, token, arguments)
    try:
        yield spawned
    finally:
        spawned.process.kill()
        spawned.process.wait()
        for pipe in (spawned.process.stdin, spawned.process.stdout, spawned.process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # buffered input cannot be flushed any more
                pass
