"""Processes of this host, as a test sees them."""

from __future__ import annotations

from pathlib import Path


def is_running(word: str) -> bool:
    """Whether a process has that word in its command line."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in file.read_bytes():
                return True
        except OSError:
            continue
    return False
