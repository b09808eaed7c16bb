"""The built files of the console, as they are sent: read once, compressed once."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DIST = Path(__file__).parent / "dist"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """A file. compressed: with gzip"""

    content_type: str
    content: bytes
    compressed: bytes


@cache
def built_files() -> dict[str, BuiltFile]:
    """Return the files by their paths below dist/, such as "index.html" and "assets/index-1a2b3c.js"."""
    found = (file for file in sorted(DIST.rglob("*")) if file.is_file() and file.suffix in TYPES)
    return {file.relative_to(DIST).as_posix(): _read(file) for file in found}


def _read(file: Path) -> BuiltFile:
    content = file.read_bytes()
    return BuiltFile(TYPES[file.suffix], content, gzip.compress(content, mtime=0))
