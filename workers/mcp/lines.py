"""Lines that a program writes, on their way from the commands' thread to the event loop of MCP sessions.

Owns the limits: a program that writes faster than it is read is paused, and a line that is too long is dropped, with an
error for the request that it answers.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import deque
from collections.abc import Callable

MAX_LINE_BYTES = 8 << 20
MAX_WAITING_BYTES = 16 << 20  # of complete lines; then the program is paused
BYTES_OF_A_PLACE = 64  # that a line costs in a queue, beside its text
EDGE_BYTES = 512  # at both ends of a line that is too long, where its id is looked for
OUTPUT = 1  # the number of standard output, as Process calls on_bytes; 0: the program has ended
TOO_LONG = f"the server's answer has more than {MAX_LINE_BYTES >> 20} MiB, so it was dropped; ask for less at once"
LINES_AT_ONCE, PAUSE_SECONDS = 100, 0.05  # a server that floods leaves most of the process's time to others
BYTES_OF_A_LINE = 4096  # a longer line counts as several
_ID = re.compile(rb'"id"\s*:\s*(\d+)')


class Ending:
    """The end of a connection; the first one counts.

    exit_code:  of the program, if it was one
    last_words: the last line of the program's standard error
    """

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.last_words = ""
        self._event = asyncio.Event()

    def set(self, exit_code: int | None = None, last_words: str = "") -> None:
        if not self._event.is_set():
            self.exit_code, self.last_words = exit_code, last_words
            self._event.set()

    async def wait(self) -> None:
        await self._event.wait()


class Pauses:
    """The pauses between what a server sends: PAUSE_SECONDS for each LINES_AT_ONCE lines."""

    def __init__(self) -> None:
        self._lines = 0

    async def after(self, lines: int, size_bytes: int = 0) -> None:
        """Pause if enough has come. lines, size_bytes: what has come since the last call, whether it was JSON or not"""
        self._lines += max(lines, size_bytes // BYTES_OF_A_LINE)
        if self._lines >= LINES_AT_ONCE:
            seconds, self._lines = self._lines * PAUSE_SECONDS / LINES_AT_ONCE, 0
            await asyncio.sleep(seconds)


class Lines:
    """A queue of lines. `feed` belongs to the commands' thread, `next` to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.resume: Callable[[], None] = lambda: None
        self._loop = loop
        self._lock = threading.Lock()
        self._begun = bytearray()
        self._dropping: bytes | None = None  # the beginning of a line that is too long
        self._complete: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = self._ended = False
        self._changed = asyncio.Event()

    def feed(self, stream: int, data: bytes) -> bool:
        """Add output; return whether the program may write more."""
        with self._lock:
            if stream == 0:
                self._ended = True
            elif stream == OUTPUT:
                first, *rest = data.split(b"\n")
                self._add(first)
                for piece in rest:
                    self._end_line()
                    self._add(piece)
            self._paused = self._waiting_bytes > MAX_WAITING_BYTES
            may_write = not self._paused
        self._loop.call_soon_threadsafe(self._changed.set)
        return may_write

    async def next(self) -> bytes | None:
        """Return the next line; None at the end."""
        while True:
            with self._lock:
                if self._complete:
                    line = self._complete.popleft()
                    self._waiting_bytes -= len(line) + BYTES_OF_A_PLACE
                    resumes = self._paused and self._waiting_bytes <= MAX_WAITING_BYTES // 2
                    self._paused = self._paused and not resumes
                    break
                if self._ended:
                    return None
                self._changed.clear()
            await self._changed.wait()
        if resumes:
            self.resume()
        return line

    def _add(self, piece: bytes) -> None:
        self._begun += piece
        if self._dropping is not None:
            del self._begun[:-EDGE_BYTES]
        elif len(self._begun) > MAX_LINE_BYTES:
            self._dropping = bytes(self._begun[:EDGE_BYTES])
            del self._begun[:-EDGE_BYTES]

    def _end_line(self) -> None:
        line, self._begun = bytes(self._begun), bytearray()
        if self._dropping is not None:
            found = _ID.search(self._dropping) or _ID.search(line)
            self._dropping = None
            if found is None:
                return
            line = b'{"jsonrpc":"2.0","id":%b,"error":{"code":-32603,"message":"%b"}}' % (found[1], TOO_LONG.encode())
        if line.strip():
            self._complete.append(line)
            self._waiting_bytes += len(line) + BYTES_OF_A_PLACE
