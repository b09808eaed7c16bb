"""Decode JSON from outside into values that the rest of the server can store."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import orjson

MAX_VALUES = 100_000  # of one request: their number takes time and memory, more than the bytes of a long text
MAX_DEPTH = 128  # as in the original's parser; stored values are sent again inside other objects
REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)  # linear: one without an end, too
_SUSPECT = re.compile(rb"\\u(0000|[dD][89a-fA-F])")


class TooManyValues(ValueError):
    """A request with more than MAX_VALUES values. str() says what to do."""


def decode_request(raw: bytes) -> Any:
    """Return one JSON value that a client has sent. Errors: TooManyValues, and those of `decode`."""
    many_strings = raw.count(b'"') - raw.count(b'\\"') > 4 * MAX_VALUES  # two quotes for each name and each value
    if many_strings or (_count_values(raw) > MAX_VALUES and _count_values(_STRING.sub(b"", raw)) > MAX_VALUES):
        raise TooManyValues(f"more than {MAX_VALUES} values in one request; send several")
    return decode(raw)


def _count_values(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def decode(raw: bytes) -> Any:
    """Return one JSON value. NUL and lone surrogates become U+FFFD; integers beyond 64 bits become floating point.

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
        check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Errors: ValueError (nested deeper than MAX_DEPTH)"""
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
    """Return an integer as orjson reads it."""
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
