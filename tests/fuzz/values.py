"""Values that a hostile client would send: boundary values of every type, and params made from a method's schema.

All of it comes from one random.Random, so that a seed tells the whole run.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from marshmallow import Schema, fields, validate

from api.examples import EXAMPLES, THREAD, TURN
from api.methods import TABLE
from api.methods.without_effect import EMPTY, REFUSED

METHODS = sorted(TABLE) * 12 + sorted([*EMPTY, *REFUSED])  # those that do something oftener
# What json.dumps cannot be made to write: stands in a string first, and is put into the text afterwards.
LITERALS = {
    "@huge": "1e400",
    "@negative": "-1e400",
    "@tiny": "1e-400",
    "@zero": "-0",
    "@precise": "0." + "1" * 400,
    "@digits": "9" * 5000,
    "@octal": "010",
    "@deep": "[" * 900 + "]" * 900,
    "@not-too-deep": "[" * 100 + "]" * 100,
    "@deeper": '{"a":' * 3000 + "1" + "}" * 3000,
    "@deep-nul": '{"\\u0000":' * 700 + "1" + "}" * 700,
    "@twice": '{"type":"text","type":1,"text":"a","text":null}',
}
ENDS_THREADS = {"thread/delete", "thread/archive"}  # mostly of a thread that is not there: the next cases need theirs
HARMLESS = {"@tiny", "@zero", "@not-too-deep", "@twice"}  # they are JSON
INTEGERS = (
    [0, -1, 1, 2, 99, 100, 101, 255, 256, 65535, 65536]
    + [sign * 2**bits + off for bits in (31, 32, 53, 63, 64, 65, 128, 1100) for sign in (1, -1) for off in (-1, 0, 1)]
    + [10**18 - 1, 10**18, 10**19, 253402300800, 253402300800000, 8640000000000001]
)
FLOATS = [0.0, -0.0, 0.5, 1.0, 1e308, -1e308, 5e-324, 1e18, 1e19, float("nan"), float("inf"), float("-inf")]
STRINGS = [
    "",
    " ",
    "a",
    "null",
    "true",
    "0",
    "-1",
    "1e9",
    "18446744073709551616",
    "9" * 30,
    "9" * 400,
    "\0",
    "a\0b",
    "\ud800",
    "\udfff\ud800",
    "\ud83d",
    "😀",
    "\U0010ffff",
    "\ufffe",
    "\ufeff",
    "\u202e",
    "ﬀ",
    "e\u0301" * 50,
    "%s%n%d",
    "{0.__class__}",
    "${HOME}",
    "`id`",
    "$(id)",
    "'; DROP TABLE threads; --",
    '" OR 1=1',
    "\\",
    "%",
    "_",
    "%\\",
    "/",
    "//",
    "/..",
    "../../etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "/dev/zero",
    "/dev/stdin",
    "file:///etc/passwd",
    "/" + "a" * 300,
    "/a" * 3000,
    "a" * 5000,
    "\n",
    "\r\n\r\n",
    "\x1b[2J",
    "\x7f",
    "\x80",
    "\u2028",
    "(a+)+$",
    "a" * 30 + "!",
    "[" * 200,
    "(" * 2000,
    "*" * 500,
    "**/" * 200,
    "?" * 500,
    "\\" * 301,
    "0-0",
    "-",
    "1-",
    "-1",
    "99999999999999999999-0",
    "1-99999999999999999999",
    "0-18446744073709551616",
    "$",
    "+",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "{" + THREAD + "}",
    THREAD.upper(),
    THREAD.replace("-", ""),
    THREAD + "\n",
    "=",
    "====",
    "AAA",
    "AAAA=",
    "!!!!",
    "-----",
    "٣",
    "²",
    "１",
    "1_000",
    "+1",
    "http://127.0.0.1:1/x.git",
    "http://169.254.169.254/latest",
    "ssh://-oProxyCommand=id/x",
    "data:image/png;base64,AAAA",
    "data:,",
    "NaN",
    "Infinity",
    "on-request",
    "workspace-write",
    "high",
    "text",
    "type",
    "__proto__",
    "constructor",
    "2026-01-01T00:00:00Z",
    "inProgress",
    "asc",
    "[[tool exec_command {]]",
    "[[say",
    "]]",
    "[[tool \0 {}]]",
]
DECISIONS = [
    "accept",
    "acceptForSession",
    "decline",
    "cancel",
    "approved",
    "abort",
    {"acceptWithExecpolicyAmendment": {}},
]
KEYS = [
    "",
    "type",
    "id",
    "\0",
    "\ud800",
    "__class__",
    "a.b",
    "a" * 300,
    "threadId",
    "text",
    "$ref",
    "model",
    "workspace",
]
# Unions that a schema calls a map or anything: one member of each, to be spoilt.
UNIONS: dict[str, list[Any]] = {
    "sandboxPolicy": [
        {"type": "workspaceWrite", "writableRoots": ["/FOLDER"], "networkAccess": False, "excludeSlashTmp": True},
        {"type": "readOnly", "networkAccess": "enabled"},
        {"type": "externalSandbox"},
        {"type": "dangerFullAccess"},
    ],
    "approvalPolicy": ["never", "untrusted", {"granular": {"rules": True, "sandbox_approval": False}}],
    "collaborationMode": [{"mode": "plan", "settings": {"model": "m", "reasoning_effort": "high"}}],
    "config": [
        {"model": "m", "model_reasoning_effort": "low", "features": {"a": True}},
        {"workspace": {"gitUrl": "http://127.0.0.1:1/x.git", "ref": "main", "credential": "none"}},
        {"workspace": {"archive": THREAD}},
    ],
    "target": [
        {"type": "uncommittedChanges"},
        {"type": "baseBranch", "branch": "main"},
        {"type": "commit", "sha": "abc", "title": "t"},
        {"type": "custom", "instructions": "look"},
    ],
    "input": [
        [
            {
                "type": "text",
                "text": "hello",
                "textElements": [{"byteRange": {"start": 0, "end": 3}, "placeholder": "x"}],
            }
        ],
        [{"type": "image", "url": "data:image/png;base64,AAAA", "detail": "high"}],
        [{"type": "localImage", "path": "/FOLDER/a.png"}, {"type": "skill", "name": "s", "path": "/FOLDER/s"}],
        [{"type": "mention", "name": "n", "path": "app://x"}],
    ],
    "items": [
        [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}],
        [
            {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
            {"type": "function_call_output", "call_id": "c", "output": "x"},
        ],
        [{"type": "reasoning", "summary": [], "encrypted_content": "x"}],
    ],
    "outputSchema": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}],
    "dynamicTools": [[{"name": "t", "description": "d", "inputSchema": {"type": "object"}}]],
    "edits": [[{"keyPath": "model", "value": "x", "mergeStrategy": "upsert"}]],
    "gitInfo": [{"sha": "a", "branch": "b", "originUrl": "https://example.com/x"}],
    "cursor": [{"itemId": TURN}],
    "env": [{"A": "b", "C": None}],
    "permissions": [":workspace", {"type": "profile", "id": ":workspace"}],
    "capabilities": [{"experimentalApi": True, "optOutNotificationMethods": ["turn/started"]}],
    "tags": [{"a": "b"}],
}


def anything(rng: Random, depth: int = 0) -> Any:
    """Any JSON value, and some that only look like one."""
    kinds = "snifbNlod" if depth < 3 else "snifbN"
    match rng.choice(kinds):
        case "s":
            return text(rng)
        case "n" | "N":
            return None
        case "i":
            return rng.choice(INTEGERS)
        case "f":
            return rng.choice(FLOATS)
        case "b":
            return rng.random() < 0.5
        case "l":
            return rng.choice(
                [[], ["@deep"], ["@not-too-deep"], [anything(rng, depth + 1) for _ in range(rng.randrange(4))]]
            )
        case "o":
            return {rng.choice(KEYS): anything(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(list(LITERALS))


def text(rng: Random) -> str:
    if rng.random() < 0.05:
        return rng.choice(STRINGS) * rng.choice([2, 50, 1000])
    if rng.random() < 0.05:
        return "".join(chr(rng.choice([rng.randrange(128), rng.randrange(0x110000)])) for _ in range(rng.randrange(40)))
    return rng.choice(STRINGS)


def of_field(rng: Random, name: str, field: fields.Field[Any]) -> Any:
    """A value for one member: mostly of its type, at its bounds."""
    if rng.random() < 0.25:
        return anything(rng)
    if name in UNIONS and rng.random() < 0.8:
        return spoilt(rng, copy.deepcopy(rng.choice(UNIONS[name])))
    choices = [choice for one in field.validators if isinstance(one, validate.OneOf) for choice in one.choices]
    if choices and rng.random() < 0.7:
        return rng.choice(choices)
    match field:
        case fields.Nested():
            return of_schema(rng, field.schema)
        case fields.List():
            return [of_field(rng, "", field.inner) for _ in range(rng.choice([0, 1, 1, 2, 3, 101]))]
        case fields.Boolean():
            return rng.choice([True, False, "true", 1, "on"])
        case fields.Integer():
            return rng.choice(INTEGERS)
        case fields.String():
            return text(rng)
    return anything(rng)


def of_schema(rng: Random, schema: Schema) -> Any:
    """An object of a schema; spoilt now and then."""
    made = members(rng, schema)
    return spoilt(rng, made) if rng.random() < 0.2 else made


def members(rng: Random, schema: Schema) -> dict[str, Any]:
    """The members that a schema demands, and some of the others."""
    return {
        field.data_key or name: of_field(rng, field.data_key or name, field)
        for name, field in schema.fields.items()
        if field.required or rng.random() < 0.4
    }


def spoilt(rng: Random, value: Any) -> Any:
    """The same value with one part somewhere in it replaced, dropped or added."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return anything(rng)
    place = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    act = rng.random()
    if act < 0.5:
        value[place] = spoilt(rng, value[place])
    elif act < 0.75:
        value[place] = anything(rng)
    elif act < 0.85:
        del value[place]
    elif isinstance(value, dict):
        value[rng.choice(KEYS)] = anything(rng)
    else:
        value.append(anything(rng))
    return value


def params(rng: Random, method: str, own: dict[str, str]) -> Any:
    """Params of a method, wrong in one way or in many. own: text of the examples → what the caller has in its place."""
    if method not in TABLE or rng.random() < 0.03:
        return anything(rng)
    schema = TABLE[method].Params()
    made = copy.deepcopy(EXAMPLES.get(method, {}))
    way = rng.random()
    if way < 0.25:
        made = {**(made if rng.random() < 0.5 else {}), **members(rng, schema)}
        if rng.random() < 0.6 and "threadId" in EXAMPLES.get(method, {}):
            made["threadId"] = THREAD
    elif way < 0.85 and schema.fields:
        for name, field in rng.sample(sorted(schema.fields.items()), min(len(schema.fields), rng.choice([1, 1, 2, 3]))):
            if name != "thread_id" or rng.random() < 0.3:
                made[field.data_key or name] = of_field(rng, field.data_key or name, field)
    elif way < 0.97:
        made = spoilt(rng, made)
    keeps = method not in ENDS_THREADS or rng.random() < 0.1
    return replaced(made, own) if keeps else made


def replaced(value: Any, own: dict[str, str]) -> Any:
    """The value with parts of its texts replaced."""
    if isinstance(value, str):
        for old, new in own.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, list):
        return [replaced(one, own) for one in value]
    if isinstance(value, dict):
        return {name: replaced(one, own) for name, one in value.items()}
    return value


def answer(rng: Random, request_id: Any) -> dict[str, Any]:
    """An answer to a question, mostly one that is none."""
    if rng.random() < 0.2:
        return {"id": request_id, "error": anything(rng)}
    decision = rng.choice([*DECISIONS, anything(rng)])
    return {"id": request_id, "result": spoilt(rng, {"decision": decision}) if rng.random() < 0.7 else anything(rng)}


def encode(rng: Random, value: Any) -> bytes:
    """JSON as a hostile client writes it: NaN, numbers without end, depth, lone surrogates as escapes."""
    made = json.dumps(value)
    for name, literal in LITERALS.items():
        made = made.replace(f'"{name}"', literal)
    if rng.random() < 0.2:  # the same, less escaped
        made = made.replace("\\ud83d\\ude00", "😀").replace("\\n", "\\u000a")
    return made.encode()
