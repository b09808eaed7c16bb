"""Key paths: how clients name a key of config.toml, such as `projects."/a/b.c".trust_level`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import InvalidParams

MAX_CHARACTERS = 8192  # of a key path: a path of a folder, of at most 4096 bytes, is one segment
MAX_SEGMENTS = 32

SEGMENT = re.compile(
    r"""
    (?P<quoted> "(?:[^"\\\n]|\\[^\n])*" | '[^'\n]*' )
    | (?P<bare> [^."'\n][^.\n]* )
    """,
    re.VERBOSE,
)


def split_key_path(key_path: str) -> tuple[str, ...]:
    """Return the segments of a key path.

    A quoted segment is read as TOML reads a quoted key, dots and slashes included. A bare segment may have any
    characters but dots, as the original takes them. Errors: InvalidParams
    Source: TOML 1.0, Keys
    """
    if len(key_path) > MAX_CHARACTERS:
        raise InvalidParams(f"keyPath: more than {MAX_CHARACTERS} characters, which begin with {key_path[:80]!r}")
    segments: list[str] = []
    at = 0
    while len(segments) < MAX_SEGMENTS:
        found = SEGMENT.match(key_path, at)
        if found is None:
            problem = "unterminated quoted segment" if key_path[at : at + 1] in ('"', "'") else "empty segment"
            raise InvalidParams(f"keyPath: {problem} in {key_path[:200]!r}")
        segments.append(_unquote(found["quoted"]) if found["quoted"] else found["bare"])
        at = found.end()
        if at == len(key_path):
            return tuple(segments)
        if key_path[at] != ".":
            raise InvalidParams(f"keyPath: expected a dot behind a quoted segment in {key_path[:200]!r}")
        at += 1
    raise InvalidParams(f"keyPath: more than {MAX_SEGMENTS} segments in {key_path[:200]!r}")


def value_of(values: Mapping[str, object], key: str) -> Any:
    """Return the value of a top-level key, with the values of its dotted keys inside; None: no key gives one.

    Tables of several keys are merged, and the later key wins. Null removes a key, for TOML cannot express it.
    Errors: InvalidParams
    """
    found: dict[str, object] = {}
    for path, value in values.items():
        if path.partition(".")[0] == key:
            _put(found, split_key_path(path), value)
    return found.get(key)


def _put(table: dict[str, object], path: Sequence[str], value: object) -> None:
    *above, last = path
    for segment in above:
        table = _table(table, segment)
    if isinstance(value, Mapping):
        inner = _table(table, last)
        for name, one in value.items():
            _put(inner, (name,), one)
    elif value is None:
        table.pop(last, None)
    else:
        table[last] = value


def _table(table: dict[str, object], key: str) -> dict[str, object]:
    """Return the table under a key, which is made if need be."""
    found = table.get(key)
    if not isinstance(found, dict):
        found = table[key] = {}
    return found


def _unquote(segment: str) -> str:
    try:
        value: str = tomllib.loads(f"key = {segment}")["key"]
    except tomllib.TOMLDecodeError as error:
        raise InvalidParams(f"keyPath: {segment[:200]} is not a TOML string: {error}") from None
    if "\0" in value:
        raise InvalidParams(f"keyPath: {segment[:200]} contains NUL, which cannot be stored")
    return value
