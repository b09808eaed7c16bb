"""Values that a hostile client would send: boundary values of every type, and params made from a method's schema.

All randomness comes from one random.Random, so that a seed determines the whole run.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

from marshmallow import Schema, fields, validate

from api.methods import TABLE
from api.methods.without_effect import EMPTY, REFUSED
from api.requests.examples import THREAD_ID, TURN_ID
from api.requests.params import params_schema

# Methods whose params a worker and the model read later; a fault in one of them ends a turn, not the request.
READ_BY_WORKERS = ("thread/start", "thread/inject_items", "turn/start", "turn/steer")
# Methods with an effect are called more often.
METHODS = sorted(TABLE) * 12 + sorted([*EMPTY, *REFUSED]) + sorted(READ_BY_WORKERS) * 100
# Texts that json.dumps cannot write: their names stand in for them until `encode` replaces them.
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
ENDS_THREADS = {
    "thread/delete",
    "thread/archive",
}  # mostly called for an unknown thread: later cases need the known one
HARMLESS = {"@tiny", "@zero", "@not-too-deep", "@twice"}  # valid JSON
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
    "{" + THREAD_ID + "}",
    THREAD_ID.upper(),
    THREAD_ID.replace("-", ""),
    THREAD_ID + "\n",
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
# Unions that a schema declares as a map or as any value: valid members of each, to be mutated.
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
        {"workspace": {"archive": THREAD_ID}},
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
    "cursor": [{"itemId": TURN_ID}],
    "env": [{"A": "b", "C": None}],
    "permissions": [":workspace", {"type": "profile", "id": ":workspace"}],
    "capabilities": [{"experimentalApi": True, "optOutNotificationMethods": ["turn/started"]}],
    "tags": [{"a": "b"}],
}


def anything(rng: Random, depth: int = 0) -> Any:
    """Return any JSON value, or the name of a literal that only looks like JSON."""
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
    """Return a boundary string, a repeated one, or random characters."""
    if rng.random() < 0.05:
        return rng.choice(STRINGS) * rng.choice([2, 50, 1000])
    if rng.random() < 0.05:
        return "".join(chr(rng.choice([rng.randrange(128), rng.randrange(0x110000)])) for _ in range(rng.randrange(40)))
    return rng.choice(STRINGS)


def of_field(rng: Random, name: str, field: fields.Field[Any]) -> Any:
    """Return a value for one member, mostly a boundary value of its type."""
    if rng.random() < 0.25:
        return anything(rng)
    if name in UNIONS and rng.random() < 0.8:
        return mutated(rng, copy.deepcopy(rng.choice(UNIONS[name])))
    choices = [choice for rule in field.validators if isinstance(rule, validate.OneOf) for choice in rule.choices]
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
    """Return an object of a schema, sometimes mutated."""
    made = members(rng, schema)
    return mutated(rng, made) if rng.random() < 0.2 else made


def members(rng: Random, schema: Schema) -> dict[str, Any]:
    """Return the required members of a schema and some of the optional ones."""
    return {
        field.data_key or name: of_field(rng, field.data_key or name, field)
        for name, field in schema.fields.items()
        if field.required or rng.random() < 0.4
    }


def mutated(rng: Random, value: Any) -> Any:
    """Return the value with one of its parts replaced, removed or added."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return anything(rng)
    key = rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
    draw = rng.random()
    if draw < 0.5:
        value[key] = mutated(rng, value[key])
    elif draw < 0.75:
        value[key] = anything(rng)
    elif draw < 0.85:
        del value[key]
    elif isinstance(value, dict):
        value[rng.choice(KEYS)] = anything(rng)
    else:
        value.append(anything(rng))
    return value


def params(rng: Random, method: str, own: dict[str, str]) -> Any:
    """Return params of a method, invalid in one way or in several. own: texts of the examples → the caller's own."""
    if method not in TABLE or rng.random() < 0.03:
        return anything(rng)
    schema = params_schema(TABLE[method].Params)
    made = copy.deepcopy(TABLE[method].EXAMPLE.params)
    way = rng.random()
    if way < 0.25:
        made = {**(made if rng.random() < 0.5 else {}), **members(rng, schema)}
        if rng.random() < 0.6 and "threadId" in TABLE[method].EXAMPLE.params:
            made["threadId"] = THREAD_ID
    elif way < 0.85 and schema.fields:
        for name, field in rng.sample(sorted(schema.fields.items()), min(len(schema.fields), rng.choice([1, 1, 2, 3]))):
            if name != "thread_id" or rng.random() < 0.3:
                made[field.data_key or name] = of_field(rng, field.data_key or name, field)
    elif way < 0.97:
        made = mutated(rng, made)
    keeps = method not in ENDS_THREADS or rng.random() < 0.1
    return replaced(made, own) if keeps else made


def replaced(value: Any, own: dict[str, str]) -> Any:
    """Return the value with parts of its texts replaced."""
    if isinstance(value, str):
        for old, new in own.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, list):
        return [replaced(member, own) for member in value]
    if isinstance(value, dict):
        return {name: replaced(member, own) for name, member in value.items()}
    return value


def answer(rng: Random, request_id: Any) -> dict[str, Any]:
    """Return an answer to an approval request, mostly an invalid one."""
    if rng.random() < 0.2:
        return {"id": request_id, "error": anything(rng)}
    decision = rng.choice([*DECISIONS, anything(rng)])
    return {"id": request_id, "result": mutated(rng, {"decision": decision}) if rng.random() < 0.7 else anything(rng)}


def encode(rng: Random, value: Any) -> bytes:
    """Return JSON as a hostile client writes it: NaN, very long numbers, deep nesting, lone surrogates as escapes."""
    made = json.dumps(value)
    for name, literal in LITERALS.items():
        made = made.replace(f'"{name}"', literal)
    if rng.random() < 0.2:  # the same value with other escapes
        made = made.replace("\\ud83d\\ude00", "😀").replace("\\n", "\\u000a")
    return made.encode()
