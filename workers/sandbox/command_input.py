"""Writes to a command's input or terminal without ever blocking."""

from __future__ import annotations

import os
import selectors

from shared.errors import ToolError
from workers.sandbox.event_thread import EventThread

MAX_UNREAD_INPUT_BYTES = 1 << 20
END_OF_INPUT = b"\x04"  # the key Ctrl-D


class CommandInput:
    """The descriptor that a command reads from, and the bytes that it has not read yet.

    `check_room` may be called from any thread; all other methods belong to the commands' thread.
    """

    def __init__(self, thread: EventThread, *, tty: bool) -> None:
        self._thread = thread
        self._tty = tty
        self._fd: int | None = None
        self._unsent = bytearray()
        self._ends = False

    def open(self, fd: int) -> None:
        """Write to a duplicate of this descriptor from now on."""
        self._fd = os.dup(fd)
        os.set_blocking(self._fd, False)
        self._send()

    def check_room(self, data: bytes) -> None:
        """Raise ToolError when the command leaves too much of its input unread."""
        if len(self._unsent) + len(data) > MAX_UNREAD_INPUT_BYTES:
            raise ToolError("the command does not read its input")

    def write(self, data: bytes) -> None:
        if not self._ends:
            self._unsent += data
            self._send()

    def end(self) -> None:
        """Close the input after what is unsent; on a terminal, press the key that ends the input."""
        if self._tty:
            self.write(END_OF_INPUT)
        else:
            self._ends = True
            self._send()

    def close(self) -> None:
        if self._fd is not None:
            self._thread.unwatch(self._fd)
            os.close(self._fd)
            self._fd = None

    def _send(self) -> None:
        """Send as much as the command accepts now, and the rest when it has read that."""
        if self._fd is None:  # not open yet, or closed already
            return
        self._thread.unwatch(self._fd)
        try:
            while self._unsent:
                del self._unsent[: os.write(self._fd, self._unsent)]
        except BlockingIOError:
            self._thread.watch(self._fd, self._send, selectors.EVENT_WRITE)
            return
        except OSError:  # no process reads it any more
            self._unsent.clear()
        if self._ends:
            self.close()
