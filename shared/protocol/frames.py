"""Bytes from outside → JSON values that every part behind can store."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SUSPECT = re.compile(rb"\\u(0000|[dD][89a-fA-F])")


def decode(raw: bytes) -> Any:
    """One JSON value. NUL and lone surrogates in it become U+FFFD.

    Errors: ValueError (not JSON, not UTF-8, nested too deep)
    """
    if not _SUSPECT.search(raw):
        return orjson.loads(raw)
    try:
        return _storable(json.loads(raw, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(one) for key, one in value.items()}
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"not JSON: {name}")
