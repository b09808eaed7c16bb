"""MCP servers: what their tables may contain, and which ones clients may bring."""

from __future__ import annotations

from typing import Any

import pytest

from shared.config.mcp_servers import UserMcp, effective_servers, merge_layers, read_server, servers_of_config
from shared.errors import ConfigError

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


def test_variables_of_the_environment_are_read_only_where_they_are_named() -> None:
    environ = {"TOKEN": "t", "EXTRA": "e", "OTHER": "o"}

    program = read_server("a", {"command": "x", "env": {"A": "1"}, "env_vars": ["EXTRA", "MISSING"]}, environ)
    address = read_server(
        "b",
        {
            "url": "https://h/mcp",
            "bearer_token_env_var": "TOKEN",
            "http_headers": {"X": "1"},
            "env_http_headers": {"Y": "EXTRA"},
        },
        environ,
    )

    assert program.variables == {"A": "1", "EXTRA": "e"}
    assert address.headers == {"X": "1", "Y": "e", "Authorization": "Bearer t"}
    assert "'t'" not in repr(address)


@pytest.mark.parametrize("table", [{}, {"command": "x", "url": "https://h"}, {"url": "ftp://h"}, {"command": 1}])
def test_a_server_is_a_command_or_an_address(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"mcp_servers\.x"):
        read_server("x", table)


def test_keys_with_dots_and_tables_are_merged() -> None:
    config = {
        "model": "m",
        "mcp_servers": {"a": {"command": "x", "args": ["1"]}},
        "mcp_servers.a.args": ["2"],
        'mcp_servers."b.c"': {"url": "https://h"},
    }

    assert servers_of_config(config) == {"a": {"command": "x", "args": ["2"]}, "b.c": {"url": "https://h"}}
    assert merge_layers({"a": {"env": {"A": "1"}}}, {"a": {"env": {"B": "2"}}}) == {"a": {"env": {"A": "1", "B": "2"}}}


def test_the_local_user_may_change_everything() -> None:
    brought = {"files": {"args": ["--all"]}, "own": {"url": "http://127.0.0.1/mcp", "allow_private": True}}

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
