"""Hostile WebSocket frames: the bytes of each case, and how the server has to react."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.fuzz import mcp_tables, values

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
MAX_VALUES = 100_000  # of one request
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
FRAGMENTS = [
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
TOO_LARGE = re.compile(rb"[0-9]{309}")  # beyond the range of a double
HUGE_SHARE = 0.0005  # of the frames, which are many megabytes long


@dataclass(frozen=True)
class Case:
    """One case.

    about:   a description for the report
    data:    the bytes to send
    answer:  the id of the request that has to be answered, if there is one
    ending:  "": the connection stays open; "closes": the server has to close it; "drop": the client closes it;
             "half": the client sends no more, and the server has to close it
    """

    about: str
    data: bytes
    answer: str | None = None
    ending: str = ""


def frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True, size: int | None = None
) -> bytes:
    """Return a frame (RFC 6455, 5.2). size: a false length to write instead of the payload's."""
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
    """Return a well-formed request with hostile params, which has to be answered."""
    method = rng.choice(values.METHODS)
    name = f"case-{number}"
    message: dict[str, Any] = {"id": name, "method": method, "params": mcp_tables.params(rng, method, own)}
    if rng.random() < 0.03:
        message["method"] = method = values.text(rng) or "x"
    if rng.random() < 0.03:
        del message["params"]
    if rng.random() < 0.1:
        message |= {"jsonrpc": rng.choice(["2.0", "1.0", None, 2]), "trace": values.anything(rng)}
    payload = values.encode(rng, message)
    about = f"{method} {payload[:1500]!r}"
    if has_too_many_values(payload):
        return Case(about, frame(TEXT, payload), ending="closes")
    return Case(about, frame(TEXT, payload), name if is_json(payload) else None)


def has_too_many_values(payload: bytes) -> bool:
    """Return whether the server has to close the connection, as a list of deep literals makes it."""
    without_texts = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", payload)
    return sum(map(without_texts.count, (b",", b"[", b"{"))) > MAX_VALUES


def is_json(payload: bytes) -> bool:
    """Return whether this is JSON, so that the server has to answer: some literals and very long numbers are not."""
    strange = [literal.encode() for name, literal in values.LITERALS.items() if name not in values.HARMLESS]
    return not TOO_LARGE.search(payload) and not any(literal in payload for literal in [b"NaN", b"Infinity", *strange])


def shape(rng: Random, number: int, own: dict[str, str]) -> Case:
    """Return a message that is no valid request of the protocol, or only nearly valid."""
    method = rng.choice(["thread/list", "thread/start", "fs/readFile", "account/read", "nothing/such", "initialize"])
    made: Any = rng.choice(
        [
            lambda: rng.choice(FRAGMENTS),
            lambda: random_bytes(rng),
            lambda: values.anything(rng),
            lambda: {"id": rng.choice(IDS), "method": method, "params": {}},
            lambda: {"id": rng.choice(IDS), "method": method + "\0", "params": {"threadId": "\ud800"}},
            lambda: {"id": rng.choice(IDS), "result": values.anything(rng)},
            lambda: {"id": rng.choice(values.INTEGERS), "result": {"decision": values.anything(rng)}},
            lambda: {"id": rng.choice(values.INTEGERS), "error": values.anything(rng)},
            lambda: {"id": 1, "method": values.anything(rng), "params": values.anything(rng)},
            lambda: {"method": values.anything(rng), "params": values.anything(rng)},
            lambda: [{"id": 1, "method": method, "params": {}}] * rng.choice([1, 2, 500]),
            lambda: {"id": "twice", "method": method, "params": mcp_tables.params(rng, method, own)},
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
    """Return frames that RFC 6455 allows but that clients seldom send."""
    name = f"case-{number}"
    whole = values.encode(rng, {"id": name, "method": "account/rateLimits/read", "params": {}})
    cuts = sorted(rng.sample(range(1, len(whole)), rng.choice([1, 2, 5])))
    parts = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    fragments = [frame(0 if index else TEXT, part, fin=index == len(parts) - 1) for index, part in enumerate(parts)]
    ping = frame(PING, random_bytes(rng)[:125])
    made: tuple[bytes, str | None] = rng.choice(
        [
            (b"".join(fragments), name),
            (ping.join(fragments), name),
            (frame(TEXT, b"", fin=False) + frame(0, b"", fin=False) * 50 + frame(0, whole), name),
            (frame(BINARY, whole), None),
            (frame(BINARY, random_bytes(rng)), None),
            (ping * rng.choice([1, 20]), None),
            (frame(PONG, random_bytes(rng)[:125]), None),
            (frame(TEXT, b""), None),
        ]
    )
    return Case(f"framing {made[0][:300]!r}", *made)


def violation(rng: Random, number: int, own: dict[str, str]) -> Case:
    """Return a case that ends the connection: a protocol error, a false length, or a client that leaves early."""
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
            ("impossible length", frame(TEXT, b"{}", size=2**63 + 1), "closes"),
            ("close", frame(CLOSE, b""), "closes"),
            ("close with a byte", frame(CLOSE, b"a"), "closes"),
            (
                "close with a code",
                frame(CLOSE, rng.choice([0, 999, 1005, 1006, 1015, 2999, 65535]).to_bytes(2, "big")),
                "closes",
            ),
            ("close, not UTF-8", frame(CLOSE, b"\x03\xe8\xff"), "closes"),
            ("HTTP again", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "drop"),
            ("random bytes", random_bytes(rng), "drop"),
            ("length without its payload", frame(TEXT, b"{}", size=2**40), "drop"),
            ("cut in the header", frame(TEXT, b"a" * 300)[:3], "half"),
            ("cut in the payload", frame(TEXT, b"a" * 300)[:100], rng.choice(["half", "drop"])),
            (
                "unfinished message",
                frame(TEXT, b"[", fin=False) + frame(0, b"1,", fin=False) * 300,
                rng.choice(["half", "drop"]),
            ),
            ("disconnected during requests", request(rng, number, own).data * 3, "drop"),
        ]
    )
    return Case(about, data, ending=ending)


def random_bytes(rng: Random) -> bytes:
    return rng.randbytes(rng.choice([1, 2, 8, 100, 1000]))


def case(rng: Random, number: int, own: dict[str, str]) -> Case:
    """Return the next case; four of five are requests."""
    draw = rng.random()
    if draw < HUGE_SHARE:
        return Case("17 MiB", frame(TEXT, b'"' + b"a" * (MAX_MESSAGE_BYTES + 1024) + b'"'), ending="closes")
    kinds = [(0.80, request), (0.93, shape), (0.97, framing)]
    return next((kind for most, kind in kinds if draw < most), violation)(rng, number, own)
