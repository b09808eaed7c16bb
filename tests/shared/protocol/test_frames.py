"""Decoding of frames: what clients send becomes values that can be stored and sent again."""

from __future__ import annotations

import orjson
import pytest

from shared.protocol.frames import MAX_DEPTH, decode


def nested(depth: int, inside: str = "1") -> bytes:
    return ("[" * depth + inside + "]" * depth).encode()


@pytest.mark.parametrize("inside", ["1", '"\\u0000"'])
def test_decode_refuses_deeper_nesting_than_can_be_sent_again(inside: str) -> None:
    assert orjson.dumps({"item": {"content": decode(nested(MAX_DEPTH, inside))}})
    for depth in (MAX_DEPTH + 1, 900, 100_000):
        with pytest.raises(ValueError):  # noqa: PT011 - three parsers have three messages
            decode(nested(depth, inside))


def test_decode_accepts_a_wide_value() -> None:
    assert len(decode(b"[" + b",".join([b"[{}]"] * 5000) + b"]")) == 5000


@pytest.mark.parametrize("beside", ["", "\\ud800"])
def test_decoded_numbers_can_be_sent_again(beside: str) -> None:
    def value(number: str) -> object:
        return decode(f'["{beside}", {number}]'.encode())[1]

    assert value("18446744073709551615") == 2**64 - 1
    assert value("-9223372036854775808") == -(2**63)
    for beyond in ("18446744073709551616", "-9223372036854775809", "9" * 300):
        assert isinstance(value(beyond), float)
    for endless in ("1e400", "-1e400", "9" * 5000, "NaN"):
        with pytest.raises(ValueError):  # noqa: PT011 - three parsers have three messages
            value(endless)
