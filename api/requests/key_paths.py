"""Key paths: how clients name a key of config.toml, such as `projects."/a/b.c".trust_level`."""

from __future__ import annotations

import re
import tomllib

from shared.errors import InvalidParams

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
    segments: list[str] = []
    at = 0
    while True:
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


def _unquote(segment: str) -> str:
    try:
        value: str = tomllib.loads(f"key = {segment}")["key"]
    except tomllib.TOMLDecodeError as error:
        raise InvalidParams(f"keyPath: {segment[:200]} is not a TOML string: {error}") from None
    return value
