"""Tables of MCP servers that hostile users send: each is answered, and a refused one changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from shared.config.client_mcp_servers import MAX_SERVERS, UserMcp, effective_servers, merge_layers
from shared.config.mcp_servers import read_server
from shared.protocol.frames import decode
from shared.store.users import LOCAL_USER
from tests.builders import Backend, Client
from tests.fuzz import mcp_tables, values

CASES = 50  # of each method and user
REFUSED = (-32600, -32602)
SERVER = {"user_mcp_hosts": ("mcp.example",), "user_mcp_commands": ("npx -y 'a b'",)}
OPERATOR = {"files": read_server("files", {"command": "files", "tools": {"write": {"approval_mode": "prompt"}}})}


@pytest.fixture
def backend(open_backend: Callable[..., Backend]) -> Backend:
    return open_backend(server=SERVER, mcp_servers=OPERATOR)


def decoded(rng: Random, params: Any) -> Any:
    """Return params as the server reads them; None: they are no JSON that it reads."""
    try:
        return decode(values.encode(rng, params))
    except ValueError:
        return None


def stored(backend: Backend, client: Client) -> tuple[Any, Any]:
    user = client.connection.caller.user.id
    return backend.store.user_configs.get(user), backend.store.threads.list_loaded(user, None, 10_000)


@pytest.mark.parametrize("user", [LOCAL_USER, "ann"])
@pytest.mark.parametrize("method", ["thread/start", "config/value/write", "config/batchWrite"])
def test_random_tables_are_stored_or_refused(backend: Backend, user: str, method: str) -> None:
    client = backend.connect(user)
    policy = UserMcp.of(backend.config.server, hosted=user != LOCAL_USER)
    answered = refused = 0

    for number in range(CASES):
        rng = Random(f"{method}:{number}")
        made: Any = {"thread/start": lambda: {"config": mcp_tables.config(rng)}}  # noqa: B023
        made |= {"config/value/write": lambda: mcp_tables.edit(rng)}  # noqa: B023
        made |= {"config/batchWrite": lambda: {"edits": [mcp_tables.edit(rng) for _ in range(3)]}}  # noqa: B023
        params = decoded(rng, made[method]())
        if params is None:
            continue
        before = stored(backend, client)
        reply = client.reply(method, params)
        client.frames.clear()
        if "error" in reply:
            refused += 1
            assert reply["error"]["code"] in REFUSED, (number, reply)
            assert stored(backend, client) == before
            continue
        answered += 1
        (own, _), threads = stored(backend, client)
        of_thread = backend.store.threads.get(threads[-1], user).settings.get("mcpServers") if threads else None
        brought: Any = merge_layers(own.get("mcp_servers") or {}, of_thread or {})  # type: ignore[arg-type]
        servers, _ = effective_servers(OPERATOR, brought, policy)  # as a worker reads them
        assert len(servers) <= MAX_SERVERS
        assert [server.origin for server in servers.values()]

    assert answered
    assert refused


DEEP: Any = {"a": mcp_tables.nested(7)}
TOOLS = {f"t{number}": {"approval_mode": "approve"} for number in range(1100)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({f"mcp_servers.a{number}.command": "x" for number in range(1000)}, "config: Longer than maximum length 500"),
        ({f"mcp_servers.a{number}.command": "x" for number in range(400)}, "has 400 servers; expected at most 32"),
        ({"mcp_servers": {f"s{number}": {} for number in range(5000)}}, "has 5000 servers; expected at most 32"),
        ({"mcp_servers" + ".a" * 5000: "x"}, "keyPath: more than 8192 characters"),
        ({"mcp_servers" + ".a" * 260: "x"}, "keyPath: more than 32 segments"),
        ({"mcp_servers" + ".a" * 20: "x"}, "nested deeper than 6"),
        ({"mcp_servers": DEEP}, "nested deeper than 6"),
        ({"mcp_servers": {"a": {"command": "x", "args": ["x" * 70_000]}}}, "bytes; expected at most 65536"),
        ({"mcp_servers": {"a": {"command": "x", "args": ["x"] * 2000}}}, "more than 2000 values"),
        ({"mcp_servers": {"files": {"tools": TOOLS}}}, "more than 2000 values"),
        ({"mcp_servers": []}, "expected a table of tables"),
        ({"mcp_servers.a": "x"}, "expected a table of tables"),
        ({'mcp_servers."a': {}}, "unterminated quoted segment"),
        ({'mcp_servers."\\u0000"': {"command": "x"}}, "contains NUL"),
    ],
)
def test_tables_beyond_a_limit_are_refused(backend: Backend, config: dict[str, Any], message: str) -> None:
    client = backend.connect("ann")

    refused = client.error("thread/start", {"config": config})

    assert message in refused["message"]
    assert backend.store.threads.list_loaded("ann", None, 1) == []
    if len(config) == 1:
        (edit,) = [{"keyPath": key, "value": value, "mergeStrategy": "upsert"} for key, value in config.items()]
        client.error("config/value/write", edit)
        client.error("config/batchWrite", {"edits": [edit] * 64})
        assert backend.store.user_configs.get("ann") == ({}, 0)


@pytest.mark.parametrize("url", [url for url in mcp_tables.URLS if "//mcp.example" not in url.lower()])
def test_a_url_that_cannot_be_used_is_no_error_of_the_server(backend: Backend, url: str) -> None:
    client = backend.connect("ann")

    client.call("thread/start", {"config": {"mcp_servers": {"own": {"url": url}}}})
    warning = client.wait_for_method("warning")
    edit = {"keyPath": "mcp_servers.own.url", "value": url, "mergeStrategy": "replace"}
    refused = client.error("config/value/write", edit)

    assert "mcp_servers.own" in warning["params"]["message"]
    assert "mcp_servers.own" in refused["message"]
    assert json.dumps(backend.store.user_configs.get("ann")) == "[{}, 0]"


def test_a_stored_table_that_is_not_allowed_any_more_does_not_keep_others_from_being_written(backend: Backend) -> None:
    old = {"mcp_servers": {"old": {"url": "https://old.example/"}}}
    backend.store.user_configs.change("ann", lambda _: old, None)
    client = backend.connect("ann")
    edit = {"keyPath": "mcp_servers.own.url", "value": "https://mcp.example/", "mergeStrategy": "replace"}

    client.call("config/value/write", edit)

    assert set(client.call("config/read")["config"]["mcp_servers"]) == {"old", "own"}
    assert "old.example" in client.error("config/value/write", {**edit, "keyPath": "mcp_servers.old.cwd"})["message"]
