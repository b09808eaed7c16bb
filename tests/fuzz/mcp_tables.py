"""Tables of MCP servers that a hostile client would send: in `config` of thread/start, and in its own configuration."""

from __future__ import annotations

from random import Random
from typing import Any

from shared.config.mcp_servers import McpServer, McpTool
from shared.config.setting import Declaration, declarations
from tests.fuzz import values

URLS = [
    "https://mcp.example/x",
    "https://[::1/x",
    "https://::1]/x",
    "https://[]/",
    "https://[v1.x]/",
    "https://",
    "https:///x",
    "https://mcp.example:99999/",
    "https://mcp.example:0/",
    "https://mcp.example:x/",
    "https://mcp.example:/",
    "http://mcp.example/",
    "https://mcp.example:22/",
    "https://a@mcp.example@evil.example/",
    "https://evil.example\\@mcp.example/",
    "https://mcp.example\n.evil.example/",
    "https://mcp.ex\u0430mple/",
    "https://\uff0f/",
    "https://256.256.256.256/",
    "https://" + "a." * 20_000,
    "HTTPS://MCP.EXAMPLE/",
    "https://%00/",
]
COMMANDS = ["sh", "npx", "npx -y 'a", "'", "", "-", "/bin/sh"]
NUMBERS = [*values.FLOATS, *values.INTEGERS, 30, 0.1]
NAMES = ["a", "files", "b.c", "", "mcp_servers", "a b", "\0", "é", "x" * 300, "__proto__"]
SEGMENTS = ['"', "'", '"a.b"', "'a.b'", '"a', '"\\u0000"', '"\\ud800"', '"\\x"', "", " ", "env", "tools", "command"]


def params(rng: Random, method: str, own: dict[str, str]) -> Any:
    """Return params of a method; half of those that can bring MCP servers do."""
    made = values.params(rng, method, own)
    if not isinstance(made, dict) or rng.random() < 0.5:
        return made
    match method:
        case "thread/start" | "thread/resume" | "thread/fork":
            return {**made, "config": config(rng)}
        case "config/value/write":
            return {**made, **edit(rng)}
        case "config/batchWrite":
            return {**made, "edits": [edit(rng) for _ in range(rng.choice([0, 1, 2, 64, 65]))]}
    return made


def config(rng: Random) -> dict[str, Any]:
    """Return `config` of thread/start: a table, keys with dots, or both."""
    made: dict[str, Any] = {}
    if rng.random() < 0.5:
        made["mcp_servers"] = values.anything(rng) if rng.random() < 0.1 else tables(rng)
    for _ in range(rng.choice([0, 0, 1, 3])):
        made[key_path(rng)] = values.anything(rng) if rng.random() < 0.2 else table(rng)
    if rng.random() < 0.1:
        made |= {f"mcp_servers.s{number}.command": "x" for number in range(rng.choice([31, 40, 499, 2000]))}
    return made


def edit(rng: Random) -> dict[str, Any]:
    """Return an edit of the user's own configuration."""
    path, value = ("mcp_servers", tables(rng)) if rng.random() < 0.3 else (key_path(rng), table(rng))
    strategy = rng.choice(["replace", "upsert"])
    return {"keyPath": path, "value": values.anything(rng) if rng.random() < 0.3 else value, "mergeStrategy": strategy}


def key_path(rng: Random) -> str:
    """Return a key path of a server or of a part of it, mostly one that can be read."""
    draw = rng.random()
    if draw < 0.02:
        return "mcp_servers" + rng.choice([".a", '."a"', ".'a'", '."\\u0061"']) * rng.choice([40, 5000, 100_000])
    if draw < 0.1:
        return ".".join(["mcp_servers", *(rng.choice(SEGMENTS) for _ in range(rng.randrange(1, 5)))])
    name = rng.choice(['"b.c"', "files", "own", f"s{rng.randrange(10_000)}"])
    rest = [rng.choice([one.key for one in declarations(McpServer)])] if rng.random() < 0.3 else []
    return ".".join(["mcp_servers", name, *rest])


def tables(rng: Random) -> dict[str, Any]:
    """Return tables of servers by their names: a few, or thousands."""
    if rng.random() < 0.1:
        return {f"s{number}": {} for number in range(rng.choice([33, 64, 5000]))}
    return {rng.choice(NAMES): table(rng) for _ in range(rng.randrange(4))}


def table(rng: Random) -> Any:
    """Return the table of a server, in which some values are of another type or size than it should have."""
    if rng.random() < 0.05:
        return rng.choice([nested(rng.choice([5, 7, 100])), [], "", None, 1])
    declared = declarations(McpServer)
    chosen = rng.sample(declared, rng.choice([0, 1, 2, 3, len(declared)]))
    made = {one.key: _value(rng, one) for one in chosen}
    if rng.random() < 0.5:
        made.pop("command", None)
        made["url"] = rng.choice(URLS)
    return made


def nested(depth: int) -> Any:
    """Return tables and lists within each other."""
    made: Any = 1
    for level in range(depth):
        made = {"a": made} if level % 2 else [made]
    return {"a": made}


def _value(rng: Random, declared: Declaration) -> Any:
    if rng.random() < 0.15:
        return values.anything(rng)
    match declared.key, declared.kind:
        case "url", _:
            return rng.choice(URLS)
        case "command", _:
            return rng.choice(COMMANDS)
        case _, "flag":
            return rng.random() < 0.5
        case _, "number":
            return rng.choice(NUMBERS)
        case _, "texts":
            return [values.text(rng)] if rng.random() < 0.9 else ["a"] * 3000
        case _, "mapping":
            return {rng.choice(["Host", "X-A", "A B", values.text(rng)]): values.text(rng) for _ in range(3)}
        case _, "sections":
            modes = {one.key: rng.choice(["approve", "prompt", 1]) for one in declarations(McpTool)}
            return {values.text(rng): modes} if rng.random() < 0.9 else {f"t{number}": modes for number in range(3000)}
    return rng.choice([*declared.setting.choices, values.text(rng)])
