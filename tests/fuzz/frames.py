"""Hostile WebSocket frames: each a number of bytes, and what may come of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz import values

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
IDS: list[Any] = [
    None,
    True,
    0,
    -1,
    2**63,
    2**64,
    10**30,
    1.5,
    float("nan"),
    "",
    "\0",
    "\ud800",
    [],
    {},
    [1],
    "a" * 9000,
    "@digits",
]
LOOSE = [
    b"",
    b" ",
    b"\0",
    b"{",
    b"[]",
    b"{}",
    b"null",
    b"nul",
    b"0",
    b'"',
    b"\xef\xbb\xbf{}",
    b"{}{}",
    b"[1,2",
    b"//",
    b"'a'",
]
ENDLESS = re.compile(rb"[0-9]{309}")  # beyond the range of a double
MOST_EXPENSIVE = 0.0005  # share of the frames that are many megabytes long


@dataclass(frozen=True)
class Case:
    """What is sent. answer: the id that has to be answered; ending: what becomes of the connection.

    ending:  "" it goes on; "closes" the server has to close it; "drop" we do; "half" we send no more, and it has to end
    """

    about: str
    data: bytes
    answer: str | None = None
    ending: str = ""


def frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True, size: int | None = None
) -> bytes:
    """RFC 6455, 5.2. size: a length that is not the payload's."""
    length = len(payload) if size is None else size
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([bit | length])
    elif length < 1 << 16:
        head += bytes([bit | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + length.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload if masked else head + payload


def request(rng: Random, number: int, own: dict[str, str]) -> Case:
    """A well-formed request with hostile params; it has to be answered."""
    method = rng.choice(values.METHODS)
    name = f"case-{number}"
    message: dict[str, Any] = {"id": name, "method": method, "params": values.params(rng, method, own)}
    if rng.random() < 0.03:
        message["method"] = method = values.text(rng) or "x"
    if rng.random() < 0.03:
        del message["params"]
    if rng.random() < 0.1:
        message |= {"jsonrpc": rng.choice(["2.0", "1.0", None, 2]), "trace": values.anything(rng)}
    payload = values.encode(rng, message)
    return Case(f"{method} {payload[:1500]!r}", frame(TEXT, payload), name if is_json(payload) else None)


def is_json(payload: bytes) -> bool:
    """Whether the server must see a request in it: our strange literals are not always JSON, nor endless numbers."""
    strange = [literal.encode() for name, literal in values.LITERALS.items() if name not in values.HARMLESS]
    return not ENDLESS.search(payload) and not any(one in payload for one in [b"NaN", b"Infinity", *strange])


def shape(rng: Random, number: int, own: dict[str, str]) -> Case:
    """What is no request of the protocol, or only nearly one."""
    method = rng.choice(["thread/list", "thread/start", "fs/readFile", "account/read", "nothing/such", "initialize"])
    made: Any = rng.choice(
        [
            lambda: rng.choice(LOOSE),
            lambda: os_bytes(rng),
            lambda: values.anything(rng),
            lambda: {"id": rng.choice(IDS), "method": method, "params": {}},
            lambda: {"id": rng.choice(IDS), "method": method + "\0", "params": {"threadId": "\ud800"}},
            lambda: {"id": rng.choice(IDS), "result": values.anything(rng)},
            lambda: {"id": rng.choice(values.INTEGERS), "result": {"decision": values.anything(rng)}},
            lambda: {"id": rng.choice(values.INTEGERS), "error": values.anything(rng)},
            lambda: {"id": 1, "method": values.anything(rng), "params": values.anything(rng)},
            lambda: {"method": values.anything(rng), "params": values.anything(rng)},
            lambda: [{"id": 1, "method": method, "params": {}}] * rng.choice([1, 2, 500]),
            lambda: {"id": "twice", "method": method, "params": values.params(rng, method, own)},
            lambda: {values.text(rng): values.anything(rng) for _ in range(4)},
            lambda: {"id": 7, "method": "x", "result": {}, "error": {}, "params": []},
        ]
    )()
    payload = made if isinstance(made, bytes) else values.encode(rng, made)
    try:
        payload.decode()
    except UnicodeDecodeError:
        return Case(f"not UTF-8 {payload[:300]!r}", frame(TEXT, payload), ending="closes")
    return Case(f"shape {payload[:1500]!r}", frame(TEXT, payload))


def framing(rng: Random, number: int, own: dict[str, str]) -> Case:
    """Frames that RFC 6455 allows, used strangely."""
    name = f"case-{number}"
    whole = values.encode(rng, {"id": name, "method": "account/rateLimits/read", "params": {}})
    cuts = sorted(rng.sample(range(1, len(whole)), rng.choice([1, 2, 5])))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    fragments = [frame(0 if place else TEXT, part, fin=place == len(parts) - 1) for place, part in enumerate(parts)]
    ping = frame(PING, os_bytes(rng)[:125])
    made: tuple[bytes, str | None] = rng.choice(
        [
            (b"".join(fragments), name),
            (ping.join(fragments), name),
            (frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * 50 + frame(0, whole), name),
            (frame(BINARY, whole), None),
            (frame(BINARY, os_bytes(rng)), None),
            (ping * rng.choice([1, 20]), None),
            (frame(PONG, os_bytes(rng)[:125]), None),
            (frame(TEXT, b""), None),
        ]
    )
    return Case(f"framing {made[0][:300]!r}", *made)


def violation(rng: Random, number: int, own: dict[str, str]) -> Case:
    """What ends a connection: protocol errors, lies about a length, and clients that go away in the middle."""
    about, data, ending = rng.choice(
        [
            ("not masked", frame(TEXT, b"{}", masked=False), "closes"),
            ("reserved bits", frame(TEXT, b"{}", rsv=rng.randrange(1, 8)), "closes"),
            ("reserved opcode", frame(rng.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), b"{}"), "closes"),
            ("long ping", frame(PING, b"a" * 126), "closes"),
            ("ping in pieces", frame(PING, b"a", fin=False), "closes"),
            ("continuation of nothing", frame(0, b"{}"), "closes"),
            ("text within text", frame(TEXT, b"{", fin=False) + frame(TEXT, b"}"), "closes"),
            ("not UTF-8", frame(TEXT, b"\xff\xfe{}"), "closes"),
            ("half a character", frame(TEXT, b'"\xf0\x9f'), "closes"),
            ("a surrogate as bytes", frame(TEXT, b'"\xed\xa0\x80"'), "closes"),
            ("too many bytes to be", frame(TEXT, b"{}", size=2**63 + 1), "closes"),
            ("close", frame(CLOSE, b""), "closes"),
            ("close with a byte", frame(CLOSE, b"a"), "closes"),
            (
                "close with a code",
                frame(CLOSE, rng.choice([0, 999, 1005, 1006, 1015, 2999, 65535]).to_bytes(2, "big")),
                "closes",
            ),
            ("close, not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), "closes"),
            ("HTTP again", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "drop"),
            ("rubbish", os_bytes(rng), "drop"),
            ("more is promised", frame(TEXT, b"{}", size=2**40), "drop"),
            ("cut in the head", frame(TEXT, b"a" * 300)[:3], "half"),
            ("cut in the middle", frame(TEXT, b"a" * 300)[:100], rng.choice(["half", "drop"])),
            (
                "no end of it",
                frame(TEXT, b"[", fin=False) + frame(0, b"1,", fin=False) * 300,
                rng.choice(["half", "drop"]),
            ),
            ("gone while it works", request(rng, number, own).data * 3, "drop"),
        ]
    )
    return Case(about, data, ending=ending)


def os_bytes(rng: Random) -> bytes:
    return rng.randbytes(rng.choice([1, 2, 8, 100, 1000]))


def case(rng: Random, number: int, own: dict[str, str]) -> Case:
    """The next one: four of five are requests."""
    draw = rng.random()
    if draw < MOST_EXPENSIVE:
        return Case("17 MiB", frame(TEXT, b'"' + b"a" * (MAX_MESSAGE_BYTES + 1024) + b'"'), ending="closes")
    kinds = [(0.80, request), (0.93, shape), (0.97, framing)]
    return next((kind for most, kind in kinds if draw < most), violation)(rng, number, own)
