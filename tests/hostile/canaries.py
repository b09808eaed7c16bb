"""Canaries: random secrets in all places that a hostile tenant must not see, and a search for them in what she gets."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

MAX_INFLATED_BYTES = 1 << 20  # of each compressed piece of a git bundle
DEFLATED = re.compile(rb"[\x78][\x01\x5e\x9c\xda]")


class Canaries:
    """Secrets that begin alike, so that one search finds them all, also in base64 at any offset."""

    def __init__(self) -> None:
        self._common = secrets.token_hex(12)
        self._places: list[str] = []
        self._forms = [self._common.encode(), *_base64_forms(self._common.encode())]

    def make(self, place: str) -> str:
        """Return a new canary. place: where it is planted, for the report of a failure."""
        self._places.append(place)
        return f"{self._common}{len(self._places) - 1:04}"

    def found_in(self, data: bytes, *, compressed: bool = False) -> list[str]:
        """Return the places whose canaries are in the data. compressed: also look into zlib streams."""
        if compressed:
            data = b"\n".join([data, *_inflated(data)])
        found = [int(number) for number in re.findall(self._forms[0] + rb"(\d{4})", data)]
        places = [self._places[number] for number in dict.fromkeys(found)]
        return places or (["in base64"] if any(form in data for form in self._forms) else [])

    def excerpt(self, data: bytes) -> str:
        """Return what is around the first canary in the data, if it is there as it is."""
        at = max(data.find(self._forms[0]), 0)
        return repr(data[max(at - 600, 0) : at + 100])


def _base64_forms(data: bytes) -> Iterator[bytes]:
    """Yield the characters that stand for the data alone, wherever it is in what was encoded."""
    for offset in range(3):
        encoded = base64.b64encode(bytes(offset) + data)
        yield encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]


def _inflated(data: bytes) -> Iterator[bytes]:
    for begin in DEFLATED.finditer(data):
        try:
            yield zlib.decompressobj().decompress(data[begin.start() :], MAX_INFLATED_BYTES)
        except zlib.error:
            continue


def snapshot(*roots: Path) -> dict[str, str]:
    """Return what is at each path below the roots: mode, and digest or target."""
    return {str(path): _state(path) for root in roots for path in (root, *_below(root))}


def _below(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            yield Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))


def _state(path: Path) -> str:
    mode = path.lstat().st_mode
    content = b""
    if stat.S_ISLNK(mode):
        content = os.fsencode(os.readlink(path))
    elif stat.S_ISREG(mode):
        content = path.read_bytes()
    return f"{mode:o} {hashlib.sha256(content).hexdigest()}"
