"""Bytes from outside → JSON values that every part behind can store."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

MAX_DEPTH = 128  # as the original's parser has it; what is stored and sent again has to fit inside other objects
REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SUSPECT = re.compile(rb"\\u(0000|[dD][89a-fA-F])")


def decode(raw: bytes) -> Any:
    """One JSON value. NUL and lone surrogates in it become U+FFFD; integers beyond 64 bits become floating point.

    Errors: ValueError (not JSON, not UTF-8, nested too deep, a number beyond floating point)
    """
    if not _SUSPECT.search(raw):
        value = orjson.loads(raw)
    else:
        try:
            value = _storable(json.loads(raw, parse_int=_integer, parse_float=_float, parse_constant=_refuse))
        except RecursionError:
            raise ValueError("nested too deep") from None
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise ValueError("nested too deep")


def _integer(digits: str) -> int | float:
    """As orjson reads it."""
    if len(digits) < 19:
        return int(digits)
    return int(digits) if len(digits) < 22 and -(1 << 63) <= int(digits) < 1 << 64 else _float(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("a number beyond floating point")
    return value


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
