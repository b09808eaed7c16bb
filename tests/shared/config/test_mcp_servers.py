"""MCP servers: what their tables may contain."""

from __future__ import annotations

from typing import Any

import pytest

from shared.config.mcp_servers import read_server
from shared.errors import ConfigError


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
