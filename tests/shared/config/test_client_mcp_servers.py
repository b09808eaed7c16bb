"""MCP servers that clients bring: limits, and which ones count."""

from __future__ import annotations

from typing import Any

import pytest

from shared.config.client_mcp_servers import McpTables, UserMcp, effective_servers, merge_layers
from shared.config.mcp_servers import read_server

LOCAL = UserMcp(allowed=True, local=True)
HOSTED = UserMcp(allowed=True, local=False, hosts=["mcp.example"], commands=["npx -y 'a b'"])
OPERATOR = {
    "files": read_server(
        "files",
        {
            "command": "files",
            "env": {"KEY": "k"},
            "enabled_tools": ["read", "write"],
            "disabled_tools": ["format"],
            "tools": {"write": {"approval_mode": "prompt"}},
        },
    )
}


def test_tables_of_one_server_are_merged() -> None:
    assert merge_layers({"a": {"env": {"A": "1"}}}, {"a": {"env": {"B": "2"}}}) == {"a": {"env": {"A": "1", "B": "2"}}}


def test_the_local_user_may_change_everything() -> None:
    brought: McpTables = {"files": {"args": ["--all"]}, "own": {"url": "http://127.0.0.1/mcp", "allow_private": True}}

    servers, refused = effective_servers(OPERATOR, brought, LOCAL)

    assert refused == []
    assert (servers["files"].command, servers["files"].args) == ("files", ("--all",))
    assert servers["own"].allow_private


@pytest.mark.parametrize(
    ("name", "table", "reason"),
    [
        ("x", {"command": "sh"}, "user_mcp_commands"),
        ("x", {"command": "npx", "args": ["-y", "a", "b"]}, "user_mcp_commands"),
        ("x", {"url": "https://other.example/mcp"}, "user_mcp_hosts"),
        ("x", {"url": "https://mcp.example@other.example/mcp"}, "user_mcp_hosts"),
        ("x", {"url": "https://mcp.example/", "bearer_token_env_var": "OPENAI_API_KEY"}, "bearer_token_env_var"),
        ("x", {"url": "https://mcp.example/", "allow_private": True}, "allow_private"),
        ("x", {"command": "npx", "args": ["-y", "a b"], "env_vars": ["OPENAI_API_KEY"]}, "env_vars"),
        ("files", {"args": ["--all"]}, "args"),
        ("files", {"url": "https://mcp.example/"}, "url"),
    ],
)
def test_other_users_may_not_bring_what_the_operator_does_not_list(
    name: str, table: dict[str, Any], reason: str
) -> None:
    servers, refused = effective_servers(OPERATOR, {name: table}, HOSTED)

    assert servers == OPERATOR
    assert reason in refused[0]


def test_other_users_may_bring_listed_programs_and_hosts() -> None:
    brought = {
        "a": {"command": "npx", "args": ["-y", "a b"], "env": {"KEY": "own"}, "cwd": "/elsewhere"},
        "b": {"url": "https://mcp.example/x", "http_headers": {"Authorization": "own"}},
    }

    servers, refused = effective_servers({}, brought, HOSTED)

    assert refused == []
    assert (servers["a"].variables, servers["a"].cwd) == ({"KEY": "own"}, None)
    assert servers["b"].headers == {"Authorization": "own"}
    assert effective_servers({}, brought, UserMcp(allowed=False, local=False))[0] == {}


def test_other_users_can_only_narrow_a_server_of_the_operator() -> None:
    change = {
        "enabled_tools": ["read", "format", "secret"],
        "disabled_tools": [],
        "tools": {"write": {"approval_mode": "approve"}, "read": {"approval_mode": "approve"}},
    }

    files = effective_servers(OPERATOR, {"files": change}, HOSTED)[0]["files"]

    assert [name for name in ("read", "write", "format", "secret") if files.uses_tool(name)] == ["read"]
    assert (files.approval_mode("read"), files.approval_mode("write")) == ("approve", "prompt")
    assert files.variables == {"KEY": "k"}
    assert not effective_servers(OPERATOR, {"files": {"enabled": False}}, HOSTED)[0]["files"].enabled


@pytest.mark.parametrize(
    ("host", "url", "allowed"),
    [
        ("mcp.example", "https://MCP.example:443/x", True),
        ("mcp.example", "http://mcp.example/x", False),
        ("mcp.example", "https://mcp.example:22/x", False),
        ("mcp.example:8443", "https://mcp.example:8443/x", True),
        ("http://mcp.example", "http://mcp.example/x", True),
        ("http://mcp.example", "https://mcp.example/x", False),
    ],
)
def test_a_listed_host_is_one_scheme_and_one_port(host: str, url: str, allowed: bool) -> None:
    servers, _ = effective_servers({}, {"a": {"url": url}}, UserMcp(allowed=True, local=False, hosts=[host]))

    assert bool(servers) == allowed


@pytest.mark.parametrize("headers", [{"host": "inner"}, {"Connection": "x"}, {"A": "b\r\nC: d"}, {"A B": "c"}])
def test_headers_of_the_connection_are_refused(headers: dict[str, str]) -> None:
    brought = {"a": {"url": "https://mcp.example/", "http_headers": headers}}

    assert effective_servers({}, brought, HOSTED)[0] == {}


def test_other_users_cannot_make_a_server_take_longer() -> None:
    times = {"startup_timeout_sec": 1e8, "tool_timeout_sec": 1e8}
    brought: McpTables = {"files": times, "own": {"url": "https://mcp.example/", **times}}

    servers, refused = effective_servers(OPERATOR, brought, HOSTED)

    assert refused == []
    assert (servers["files"].startup_timeout_sec, servers["files"].tool_timeout_sec) == (30, 120)
    assert (servers["own"].startup_timeout_sec, servers["own"].tool_timeout_sec) == (120, 1800)


@pytest.mark.parametrize("local", [True, False])
def test_approvals_for_always_count_where_users_may_bring_nothing(local: bool) -> None:
    approved = {"tools": {"read": {"approval_mode": "approve"}, "write": {"approval_mode": "approve"}}}
    closed = UserMcp(allowed=False, local=local)

    servers, refused = effective_servers(OPERATOR, {"files": approved, "of_a_thread": approved}, closed)
    both, refused_too = effective_servers(OPERATOR, {"files": {**approved, "enabled": False}}, closed)

    assert refused == []
    assert set(servers) == {"files"}
    assert (servers["files"].approval_mode("read"), servers["files"].approval_mode("write")) == ("approve", "prompt")
    assert both == servers
    assert "does not let clients bring" in refused_too[0]
