"""Reads what a command writes, without ever blocking, and hands it to callbacks."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from workers.sandbox.event_thread import EventThread
from workers.sandbox.output import CappedOutput

READ_BYTES = 1 << 18
PIPE_BYTES = 1 << 20  # of a pipe whose command writes a lot: with the usual 64 KiB each read finds little
MAX_PIPE_READS = 16  # a pipe buffers no more than this many reads
FLOOD_BYTES = 4 << 20  # of discarded output, between two pauses
FLOOD_PAUSE_SECONDS = 0.001  # leaves time for other commands
ENDLESS_BYTES = 1 << 30  # of discarded output, after which a command is slowed down
ENDLESS_PAUSE_SECONDS = 0.05  # 80 MB/s at most

logger = logging.getLogger(__name__)


class OutputStream:
    """One descriptor that a command writes to, and what has been read from it."""

    def __init__(self, fd: int, max_bytes: int) -> None:
        self.fd: int | None = fd
        self.output = CappedOutput(max_bytes)
        self._thrown_away = 0
        os.set_blocking(fd, False)

    def read(self) -> bytes | None:
        """Return what is new, b"" when there is nothing yet, None at the end."""
        assert self.fd is not None
        try:
            return os.read(self.fd, READ_BYTES) or None
        except BlockingIOError:
            return b""
        except OSError:  # EIO: the last process left the terminal
            return None

    def pause_after(self, size_bytes: int) -> float:
        """Count bytes that are thrown away. Return for how many seconds others are to be read before this stream."""
        if self._thrown_away == 0:
            assert self.fd is not None
            with suppress(OSError):  # a terminal, or this user has too many large pipes
                fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        rounds = self._thrown_away // FLOOD_BYTES
        self._thrown_away += size_bytes
        if self._thrown_away // FLOOD_BYTES == rounds:
            return 0
        return FLOOD_PAUSE_SECONDS if self._thrown_away < ENDLESS_BYTES else ENDLESS_PAUSE_SECONDS


class CommandOutput:
    """The streams of one command: standard output, and standard error if it is separate.

    `pop_unread` may be called from any thread; all other methods belong to the commands' thread.

    on_output, on_bytes: see Process
    suspended:           whether on_bytes has asked to pause the command until `resume`
    """

    def __init__(
        self,
        thread: EventThread,
        fds: Sequence[int],
        max_bytes: int,
        on_output: Callable[[str], None] | None,
        on_bytes: Callable[[int, bytes], bool] | None,
    ) -> None:
        self.streams = [OutputStream(fd, max_bytes) for fd in fds]
        self.suspended = False
        self._thread = thread
        self._max_bytes = max_bytes
        self._on_output = on_output
        self._on_bytes = on_bytes
        self._unread_lock = threading.Lock()
        self._unread = CappedOutput(max_bytes)

    @property
    def is_closed(self) -> bool:
        """Whether no process can write to any of the streams any more."""
        return all(stream.fd is None for stream in self.streams)

    def pop_unread(self) -> CappedOutput:
        """Return the standard output since the last call."""
        with self._unread_lock:
            unread, self._unread = self._unread, CappedOutput(self._max_bytes)
            if not self.is_closed:
                self._unread.add(unread.pop_incomplete())
        return unread

    def watch(self) -> None:
        for stream in self.streams:
            self._watch(stream)

    def resume(self) -> None:
        """Continue after on_bytes returned False."""
        if self.suspended:
            self.suspended = False
            self.watch()

    def finish(self, note: str = "") -> None:
        """Read what the pipes still hold, close them, and pass on the last piece of each stream.

        note: added to the errors, or to the output if they are together
        """
        for stream in self.streams:
            for _ in range(MAX_PIPE_READS):
                if stream.fd is None:
                    break
                data = stream.read()
                if not data:
                    self._close(stream)
                else:
                    self._add(stream, data)
            if stream.fd is not None:
                self._close(stream)
            if note and stream is self.streams[-1]:
                self._add(stream, note.encode())
            self._pass_on(stream.output.ending())

    def _watch(self, stream: OutputStream) -> None:
        if stream.fd is not None:
            self._thread.unwatch(stream.fd)
            if not self.suspended:
                self._thread.watch(stream.fd, lambda: self._read(stream))

    def _read(self, stream: OutputStream) -> None:
        assert stream.fd is not None
        data = stream.read()
        if data is None:
            self._close(stream)
            return
        self._add(stream, data)
        if self.suspended:
            self.watch()
        elif stream.output.overflows and (pause_s := stream.pause_after(len(data))):
            self._thread.unwatch(stream.fd)
            self._thread.later(pause_s, lambda: self._watch(stream))

    def _add(self, stream: OutputStream, data: bytes) -> None:
        if data and self._on_bytes is not None:
            self.suspended = not self._on_bytes(self.streams.index(stream) + 1, data)
        self._pass_on(stream.output.add(data))
        if stream is self.streams[0]:
            with self._unread_lock:
                self._unread.add(data)

    def _pass_on(self, text: str) -> None:
        if text and self._on_output is not None:
            try:
                self._on_output(text)
            except Exception:
                self._on_output = None
                logger.exception("output callback failed, dropping further output of the command")

    def _close(self, stream: OutputStream) -> None:
        assert stream.fd is not None
        self._thread.unwatch(stream.fd)
        os.close(stream.fd)
        stream.fd = None
