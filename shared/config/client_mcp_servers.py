"""MCP servers that clients bring: in the user's own configuration, and in `config` of thread/start (docs/MCP.md).

Tables are stored only when `checked_tables` accepts them. `effective_servers` decides where they are used which of them
count, so that a policy that the operator changes holds for old threads, too.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from shared.config.mcp_servers import PROMPT, McpServer, read_server
from shared.config.server import Server, allowed_origin
from shared.config.urls import origin_of
from shared.errors import ConfigError, InvalidParams

MAX_SERVERS = 32  # of one thread, and in what one user or one thread brings
MAX_READ = 2 * MAX_SERVERS  # of a thread: what its user and its client brought, also when stored before this limit
McpTables = Mapping[str, Mapping[str, Any]]  # name of a server → its table
# What a user with a key may change of an operator's server: it makes the server do less, for less long at most, or
# concerns only the user.
NARROWING = (
    "enabled",
    "required",
    "enabled_tools",
    "disabled_tools",
    "default_tools_approval_mode",
    "tools",
    "startup_timeout_sec",
    "tool_timeout_sec",
)
MAX_BYTES = 64 * 1024  # of the tables that one user or one thread brings, as JSON
MAX_VALUES = 2000  # in them
MAX_DEPTH = 6  # of nested tables and lists; the deepest known key needs four
APPROVALS = "tools"  # the key of what users are not asked about any more, which is theirs whatever they may bring
MAX_STARTUP_SECONDS = 120.0  # of the servers of users with keys: a turn that waits for one holds a worker
MAX_TOOL_SECONDS = 1800.0
# What names variables of the server's environment, which are the operator's secrets.
OF_ENVIRONMENT = ("env_vars", "bearer_token_env_var", "env_http_headers")


@dataclass(frozen=True)
class UserMcp:
    """What clients may bring.

    allowed:  whether they may bring anything
    local:    the user may bring any server: it is their own machine
    hosts:    of HTTP servers that other users may bring, as [server] user_mcp_hosts
    commands: command lines of programs that other users may bring, with an `env` of their own
    """

    allowed: bool
    local: bool
    hosts: Sequence[str] = ()
    commands: Sequence[str] = ()

    @classmethod
    def of(cls, server: Server, *, hosted: bool) -> UserMcp:
        """Return what users with keys (hosted), or the local user, may bring."""
        return cls(server.user_mcp, not hosted, server.user_mcp_hosts, server.user_mcp_commands)


def checked_tables(tables: object, name: str) -> McpTables:
    """Return tables of servers, which may be stored. name: of the setting, for errors. Errors: InvalidParams."""
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise InvalidParams(f"{name}: expected a table of tables")
    if len(tables) > MAX_SERVERS:
        raise InvalidParams(f"{name}: has {len(tables)} servers; expected at most {MAX_SERVERS}")
    _check_values(tables, name)
    try:
        size = len(orjson.dumps(tables))
    except TypeError as error:
        raise InvalidParams(f"{name}: cannot be stored: {error}") from None
    if size > MAX_BYTES:
        raise InvalidParams(f"{name}: has {size} bytes; expected at most {MAX_BYTES}")
    return tables


def _check_values(tables: Mapping[str, object], name: str) -> None:
    level: list[object] = [tables]
    values = 0
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        values += len(level)
        if not level:
            return
        if values > MAX_VALUES:
            raise InvalidParams(f"{name}: has more than {MAX_VALUES} values")
    raise InvalidParams(f"{name}: tables and lists are nested deeper than {MAX_DEPTH}")


def merge_layers(*layers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return tables of servers over each other, the last the strongest; keys of one server are merged."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, table in layer.items():
            if isinstance(table, Mapping):
                merged[name] = _over(merged.get(name, {}), table)
    return merged


def effective_servers(
    operator: Mapping[str, McpServer],
    brought: McpTables,
    policy: UserMcp,
    environ: Mapping[str, str] | None = None,
) -> tuple[dict[str, McpServer], list[str]]:
    """Return a thread's servers by name, sorted, and sentences about what clients brought in vain.

    operator: the operator's servers
    brought:  what clients brought, as `merge_layers` returns it
    environ:  the variables that a local user's servers may name
    """
    servers = dict(sorted(operator.items())[:MAX_SERVERS])
    refused, left_out = [], len(operator) > MAX_SERVERS or len(brought) > MAX_READ
    for name, table in sorted(brought.items())[:MAX_READ]:
        if name not in servers and len(servers) >= MAX_SERVERS:
            left_out = True
            continue
        own = operator.get(name)
        if own is None and table and set(table) <= set(NARROWING):
            continue  # what a user has set about a server that another thread has, such as an approval for always
        try:
            servers[name] = _brought(name, table, own, policy, environ)
        except ConfigError as error:
            refused.append(str(error))
            if own is not None and (approved := _with_approvals(own, table)) is not None:
                servers[name] = approved
    if left_out:
        refused.append(f"mcp_servers: a thread has at most {MAX_SERVERS} servers; the others are left out")
    return dict(sorted(servers.items())), refused


def _brought(
    name: str,
    table: Mapping[str, Any],
    own: McpServer | None,
    policy: UserMcp,
    environ: Mapping[str, str] | None,
) -> McpServer:
    if not policy.allowed and (own is None or set(table) - {APPROVALS}):
        raise ConfigError(f"mcp_servers.{name[:80]}: this server does not let clients bring MCP servers")
    if policy.local and policy.allowed:
        return read_server(name, _over(own.table if own else {}, table), environ)
    if own is not None:
        if foreign := sorted(set(table) - set(NARROWING)):
            raise ConfigError(
                f"mcp_servers.{name[:80]}: the operator's server; users may not set {', '.join(foreign)[:200]}"
            )
        return _narrowed(own, read_server(name, {"command": "-", **table}), table)
    server = read_server(name, table)
    if foreign := [key for key in (*OF_ENVIRONMENT, "allow_private") if key in table]:
        raise ConfigError(f"mcp_servers.{name[:80]}: only the operator may set {', '.join(foreign)}")
    if server.url is not None:
        scheme, host, port = origin = origin_of(server.url)
        if origin not in map(allowed_origin, policy.hosts):
            raise ConfigError(
                f"mcp_servers.{name[:80]}: {scheme}://{host[:200]}:{port} is not in [server] user_mcp_hosts; ask the "
                "operator"
            )
        if any(header.lower() == "host" for header in server.http_headers):
            raise ConfigError(f"mcp_servers.{name[:80]}: only the operator may set the header Host")
        return _bounded(server)
    if [server.command or "", *server.args] not in map(shlex.split, policy.commands):
        raise ConfigError(
            f"mcp_servers.{name[:80]}: its command is not in [server] user_mcp_commands; ask the operator for it"
        )
    return _bounded(replace(server, cwd="." if server.cwd == "." else None))


def _bounded(server: McpServer) -> McpServer:
    return replace(
        server,
        startup_timeout_sec=min(server.startup_timeout_sec, MAX_STARTUP_SECONDS),
        tool_timeout_sec=min(server.tool_timeout_sec, MAX_TOOL_SECONDS),
    )


def _with_approvals(own: McpServer, table: Mapping[str, Any]) -> McpServer | None:
    """Return an operator's server with what the user is not asked about any more; None: nothing, or not readable."""
    approvals = {key: value for key, value in table.items() if key == APPROVALS}
    try:
        return _narrowed(own, read_server(own.name, {"command": "-", **approvals}), approvals) if approvals else None
    except ConfigError:
        return None


def _narrowed(own: McpServer, asked: McpServer, table: Mapping[str, Any]) -> McpServer:
    """Return an operator's server with what a user asks for: fewer tools, and no approval that the operator demands."""
    values: dict[str, Any] = {key: getattr(asked, key) for key in NARROWING if key in table}
    for limit in ("startup_timeout_sec", "tool_timeout_sec"):
        if limit in values:
            values[limit] = min(values[limit], getattr(own, limit))
    values["enabled"] = own.enabled and asked.enabled
    if own.enabled_tools is not None and asked.enabled_tools is not None:
        values["enabled_tools"] = tuple(name for name in asked.enabled_tools if name in own.enabled_tools)
    values["disabled_tools"] = (*own.disabled_tools, *asked.disabled_tools)
    if own.default_tools_approval_mode == PROMPT:
        values.pop("default_tools_approval_mode", None)
    tools = {**own.tools, **asked.tools}
    values["tools"] = {
        name: own.tools[name] if name in own.tools and own.approval_mode(name) == PROMPT else tool
        for name, tool in tools.items()
        if name in own.tools or own.default_tools_approval_mode != PROMPT
    }
    return replace(own, **values)


def _over(table: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return both tables as one, in which the second wins; tables in both are merged in the same way."""
    merged = dict(table)
    for key, value in over.items():
        before = merged.get(key)
        both = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[key] = _over(before, value) if both else value  # type: ignore[arg-type]
    return {key: value for key, value in merged.items() if value is not None}
