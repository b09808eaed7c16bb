"""Standard streams that may be closed, full, or unable to encode a character."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO

import click

STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))  # by their file descriptors


def open_standard_streams() -> None:
    """Open closed standard streams on the null device, and let the others escape what they cannot encode.

    Otherwise the next socket or file would get the descriptor of a closed stream, and with it what others write there.
    """
    for name, mode in STREAMS:
        stream = getattr(sys, name)
        if stream is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Output:
    """A standard stream of a command that goes on when nobody reads the stream any more.

    error: why text was lost; None: none was, or the reader left on purpose (a closed pipe)
    """

    def __init__(self, stream: TextIO) -> None:
        self.error: OSError | None = None
        self._stream = stream
        self._is_open = True

    @property
    def is_terminal(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str, *, end: str = "\n") -> None:
        """Write the text; after the first failure nothing more is written."""
        if not self._is_open:
            return
        try:
            click.echo(text + end, file=self._stream, nl=False)
        except OSError as error:
            self._is_open = False
            self.error = None if error.errno == errno.EPIPE else error
            # Python writes the rest of its buffer when it ends, and that may not fail again.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)
