"""Server-sent events out of byte chunks (WHATWG HTML, 9.2.6): the data of each event, nothing else of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from shared.protocol.frames import MAX_DEPTH, check_depth

MAX_EVENT_BYTES = 64 * 1024 * 1024  # a stream without line ends must not fill the memory


class Malformed(Exception):
    """The stream is not what it says it is."""


def split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each event, lines joined by a newline. Chunks may end anywhere; an unfinished last event is dropped.

    Errors: Malformed (an event over MAX_EVENT_BYTES)
    """
    tail: list[bytes] = []  # what has no line end yet
    data: list[bytes] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_EVENT_BYTES:
            raise Malformed("an event without end")
        if b"\n" not in chunk:
            tail.append(chunk)
            continue
        lines = b"".join([*tail, chunk]).split(b"\n")
        tail = [lines.pop()]
        for line in lines:
            if line[-1:] == b"\r":
                line = line[:-1]
            if line[:5] == b"data:":
                data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line and data:
                yield data[0] if len(data) == 1 else b"\n".join(data)
                data, size = [], len(tail[0])


def parse(data: bytes) -> Any:
    """One event's data as JSON; NUL, lone surrogates and bytes that are no UTF-8 come out as U+FFFD.

    Errors: Malformed (also: nested deeper than stored values may be)
    """
    try:
        value = orjson.loads(data)
        is_clean = b"\\u0000" not in data
    except orjson.JSONDecodeError:
        # orjson refuses lone surrogates and wrong bytes; the standard library lets them through to be replaced.
        try:
            value, is_clean = json.loads(data.decode("utf-8", "replace")), False
        except (ValueError, RecursionError):
            raise Malformed("an event that is not JSON") from None
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        try:
            check_depth(value)
        except ValueError:
            raise Malformed("an event that is nested too deep") from None
    return value if is_clean else _cleaned(value)


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_cleaned(inner) for inner in value]
        case dict():
            return {_cleaned(name): _cleaned(inner) for name, inner in value.items()}
    return value
