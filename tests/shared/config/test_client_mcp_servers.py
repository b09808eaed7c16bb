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
