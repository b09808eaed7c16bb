"""Hostile HTTP requests, as bytes: hostile params, verbs, targets, headers and bodies."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote

from tests.fuzz import mcp_tables, values

ROUTES = ["/", "/readyz", "/healthz", "/statusz", "/openapi.json", "/docs", "/v2/thread/events"]
ROUTES += [
    "/v2/serverRequest/respond",
    "/v2/workspace/archive",
    "/v2/thread/workspace",
    "/v2/thread/list",
    "/v2/turn/start",
    "/v2/",
    "/v2",
    "/none",
]
TARGETS = [
    "*",
    "http://evil.example/",
    "//evil.example/x",
    "/%00",
    "/%",
    "/%zz",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/v2/../v2/thread/list",
]
TARGETS += [
    "/v2//thread/list",
    "/v2/thread/list/",
    "/v2/thread%2flist",
    "/v2/thread/list;a=b",
    "/v2/%ff%fe",
    "/" + "a" * 5000,
    "/?" + "a=b&" * 3000,
]
TARGETS += ["/v2/thread/list?" + "%00" * 50, "/v2/\\thread\\list", "/v2/thread/list#x", "/é", "?", "", " "]
VERBS = [
    "GET",
    "POST",
    "PUT",
    "DELETE",
    "PATCH",
    "HEAD",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "get",
    "POST\0",
    "X" * 100,
    "A B",
]
TYPES = [
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
]
TYPES += [
    "application/json; charset=utf-16",
    "application/json; charset=nothing",
    "\xff",
    "",
    "a" * 3000,
    "application/xml",
]
CURSORS = [
    *values.STRINGS,
    "0",
    "1-1",
    "9999999999999-0",
    "0-99999999999999999999999",
    "-5-5",
    "1-1-1",
    "\xff\xfe",
    "١-٢",
]


@dataclass(frozen=True)
class Post:
    """One request.

    about:  a description for the report
    whole:  the request is complete, so that the server has to answer
    drop:   the client disconnects before the answer
    """

    about: str
    data: bytes
    whole: bool = True
    drop: bool = False


def build(verb: str, target: str, headers: dict[str, str], body: bytes = b"", *, length: str | None = "") -> bytes:
    """Return a request. length: Content-Length, if not that of the body; None: no such header."""
    if length is not None:
        headers = {**headers, "Content-Length": length or str(len(body))}
    lines = [f"{verb} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("utf-8", "replace") + b"\r\n\r\n" + body


def base(key: str) -> dict[str, str]:
    return {"Host": "127.0.0.1", "Authorization": f"Bearer {key}", "Connection": "close"}


def of_method(rng: Random, key: str, own: dict[str, str]) -> Post:
    """Return a call of a method with hostile params."""
    method = rng.choice(values.METHODS)
    body = values.encode(rng, mcp_tables.params(rng, method, own))
    headers = base(key) | {"Content-Type": rng.choice(["application/json", "application/json", rng.choice(TYPES)])}
    if rng.random() < 0.1:
        headers["Accept"] = rng.choice(["text/event-stream", "*/*", "text/event-stream;q=\0", "a" * 3000])
    if rng.random() < 0.1:
        headers["Idempotency-Key"] = clean(values.text(rng))
    if rng.random() < 0.05:
        headers["X-HTTP-Method-Override"] = rng.choice(VERBS[:5])
    data = build("POST", f"/v2/{method}", headers, body)
    return Post(f"{method} {body[:1500]!r}", data, whole=is_header(headers))


def around(rng: Random, key: str, own: dict[str, str]) -> Post:
    """Return a request with hostile verbs, targets and headers."""
    verb = rng.choice(["GET", "POST", rng.choice(VERBS)])
    target = rng.choice([rng.choice(ROUTES), rng.choice(TARGETS)])
    headers = base(key)
    for name in rng.sample(sorted(HEADERS), rng.choice([0, 1, 2])):
        headers[name] = clean(rng.choice([HEADERS[name], values.text(rng)]))
    if rng.random() < 0.1:
        headers |= {f"X-{number}": "a" for number in range(rng.choice([90, 110, 3000]))}
    if rng.random() < 0.1:
        del headers[rng.choice(["Host", "Authorization"])]
    body = rng.choice([b"", b"{}", rng.randbytes(50), values.encode(rng, values.anything(rng))])
    data = build(verb, target, headers, body)
    return Post(f"{verb} {target[:200]} {headers}"[:1500], data, whole=False)


HEADERS = {
    "Host": "evil.example",
    "Authorization": "Bearer th_0",
    "Origin": "http://evil.example",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "evil.example",
    "X-HTTP-Method-Override": "DELETE",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    "Connection": "Upgrade",
    "Expect": "100-continue",
    "Cookie": "a=" + "b" * 3000,
    "Range": "bytes=0-0,1-1",
    "Content-Encoding": "gzip",
    "Transfer-Encoding": "chunked",
    "Accept-Encoding": "gzip;q=\0",
    "If-None-Match": "*",
    "If-Modified-Since": "x",
    "traceparent": "00-zz-zz-00",
    "tracestate": "a" * 3000,
    "baggage": "a=%ff,=,;",
    "SCRIPT_NAME": "/x",
}


def upgrade(rng: Random, key: str, own: dict[str, str]) -> Post:
    """Return a WebSocket handshake with something wrong in it."""
    headers = base(key) | {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    name = rng.choice(sorted(headers))
    if rng.random() < 0.4:
        del headers[name]
    else:
        headers[name] = clean(values.text(rng))
    headers |= rng.choice(
        [{}, {"Sec-WebSocket-Extensions": clean(values.text(rng))}, {"Sec-WebSocket-Protocol": "a,,b"}]
    )
    data = build(rng.choice(["GET", "GET", "POST"]), rng.choice(["/", "/x/y", "/v2/thread/list"]), headers)
    return Post(f"upgrade {headers}", data, whole=False, drop=rng.random() < 0.3)


def stream(rng: Random, key: str, own: dict[str, str]) -> Post:
    """Return a request for an event stream with an invalid cursor, or a download of a workspace that does not exist."""
    name = rng.choice([*own.values(), values.text(rng)])
    route = rng.choice(["/v2/thread/events", "/v2/thread/events", "/v2/thread/workspace"])
    target = f"{route}?threadId={quote(name.encode('utf-8', 'replace'))}"
    cursor = rng.choice(CURSORS)
    if route.endswith("workspace"):
        target += f"&format={rng.choice(['diff', 'tar', 'bundle', quote(clean(values.text(rng)))])}"
    elif rng.random() < 0.5:
        target += f"&lastEventId={quote(cursor.encode('utf-8', 'replace'))}"
        target += rng.choice(["", "&threadId=", "&threadId[]=1"])
    headers = base(key) | {"Last-Event-ID": clean(cursor)}
    return Post(f"GET {target[:800]} {cursor[:200]!r}", build("GET", target, headers), whole=is_header(headers))


def answer(rng: Random, key: str, own: dict[str, str]) -> Post:
    """Return an answer to a server request that was never sent."""
    body = {
        "requestId": rng.choice([*values.INTEGERS, values.anything(rng)]),
        "result": {"decision": values.anything(rng)},
    }
    if rng.random() < 0.5:
        body["result"] = values.anything(rng)
    data = values.encode(rng, body)
    return Post(f"respond {data[:1500]!r}", build("POST", "/v2/serverRequest/respond", base(key), data))


def archive(rng: Random, key: str, own: dict[str, str]) -> Post:
    """Return an upload that is no valid archive."""
    starts = [
        b"",
        b"PK\x03\x04",
        b"PK\x05\x06" + b"\0" * 18,
        b"\x1f\x8b\x08",
        b"ustar",
        b"\0" * 1024,
        b"BZh9",
        b"\xfd7zXZ\0",
    ]
    body = rng.choice(starts) + rng.randbytes(rng.choice([0, 10, 1000, 70_000]))
    false_length = rng.random() < 0.2
    length = rng.choice(["5", "9" * 30, "-1", "+3", "0x5", "1_0", "٣", "5, 6", "99999"]) if false_length else ""
    data = build("POST", "/v2/workspace/archive", base(key), body, length=length)
    return Post(f"archive {len(body)} {length}", data, whole=not false_length, drop=false_length)


def chunks(rng: Random, key: str, own: dict[str, str]) -> Post:
    """Return a request with a chunked body, valid or not."""
    target = rng.choice(["/v2/thread/list", "/v2/workspace/archive", "/v2/serverRequest/respond", "/v2/fs/readFile"])
    valid = b"2\r\n{}\r\n0\r\n\r\n"
    invalid = [
        b"zz\r\n{}\r\n",
        b"-1\r\n",
        b"f" * 40 + b"\r\n",
        b"2;" + b"a" * 9000 + b"\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
        b"5\r\n{}",
    ]
    invalid += [
        b"2\r\n{}0\r\n\r\n",
        b"",
        b"0\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 3000 + b"\r\n",
        rng.randbytes(200),
        b" 2\r\n{}\r\n0\r\n\r\n",
    ]
    is_valid = rng.random() < 0.3
    encoding = rng.choice(
        ["chunked", "chunked", "Chunked", "chunked, chunked", "gzip, chunked", "identity", "x", "\x0bchunked"]
    )
    headers = base(key) | {"Transfer-Encoding": encoding}
    data = build(
        "POST", target, headers, valid if is_valid else rng.choice(invalid), length=rng.choice([None, None, "2"])
    )
    return Post(f"chunks {data[:600]!r}", data, whole=False, drop=not is_valid)


def malformed(rng: Random, key: str, own: dict[str, str]) -> Post:
    """Return bytes that are not HTTP, several requests at once, or a part of a request."""
    request = build("POST", "/v2/thread/list", base(key), b"{}")
    data = rng.choice(
        [
            rng.randbytes(300),
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + rng.randbytes(200),
            b"\r\n" * 100,
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nNo colon\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            request.replace(b"close", b"keep-alive") * 3,
            request[: rng.randrange(1, len(request))],
            request.replace(b"\r\n", b"\n"),
        ]
    )
    return Post(f"malformed {data[:300]!r}", data, whole=False, drop=True)


KINDS = [
    (0.60, of_method),
    (0.72, around),
    (0.78, upgrade),
    (0.84, stream),
    (0.88, answer),
    (0.92, archive),
    (0.96, chunks),
    (1.1, malformed),
]


def case(rng: Random, key: str, own: dict[str, str]) -> Post:
    draw = rng.random()
    return next(kind for most, kind in KINDS if draw < most)(rng, key, own)


def clean(value: Any) -> str:
    """Return the value without line ends and at most 4000 characters long, for a header."""
    return str(value).encode("utf-8", "replace").decode().replace("\r", " ").replace("\n", " ")[:4000]


def is_header(headers: dict[str, str]) -> bool:
    """Return whether the server's parser accepts every value."""
    return all(value.isascii() and value.isprintable() and value == value.strip() for value in headers.values())
