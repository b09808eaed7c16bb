"""`[mcp_servers.NAME]`: the MCP servers whose tools the models of threads may call (docs/MCP.md).

The same reader checks the operator's servers and those that clients bring: in the user's own configuration, and in
`config` of thread/start. What clients bring is checked by `effective_servers`, where it is used, so that a policy that
the operator changes holds for old threads, too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from shared.config.reader import Values, read
from shared.config.server import Server
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.errors import ConfigError

AUTO, PROMPT, APPROVE = "auto", "prompt", "approve"
APPROVAL_MODES = (AUTO, PROMPT, APPROVE)
NAME = re.compile(r"[a-zA-Z0-9_:@/.-]+")
MAX_SERVERS = 32  # of one thread
# What a user with a key may change of an operator's server: it makes the server do less, or concerns only the user.
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
# What names variables of the server's environment, which are the operator's secrets.
OF_ENVIRONMENT = ("env_vars", "bearer_token_env_var", "env_http_headers")
_URL = re.compile("https?://")


@dataclass(frozen=True)
class McpTool:
    """Settings of one tool."""

    approval_mode: Annotated[
        str | None, Setting("When its calls need an approval, instead of the server's mode.", choices=APPROVAL_MODES)
    ] = None


@dataclass(frozen=True)
class McpServer:
    """One MCP server: a program (`command`) that runs in the sandbox of the thread, or an address (`url`)."""

    command: Annotated[str | None, Setting("The program of a server that speaks over its input and output.")] = None
    args: Annotated[tuple[str, ...], Setting("Arguments of the program.")] = ()
    env: Annotated[Mapping[str, str], Setting("Variables that the program gets.")] = field(
        default_factory=dict, repr=False
    )
    env_vars: Annotated[
        tuple[str, ...], Setting("Names of variables of the worker's environment that the program gets, too.")
    ] = ()
    cwd: Annotated[str | None, Setting("Folder that the program runs in.", default="that of the thread")] = None
    url: Annotated[
        str | None,
        Setting(
            "Address of a server that speaks streamable HTTP.",
            matches=_URL.match,
            expected="an http:// or https:// URL",
        ),
    ] = None
    bearer_token_env_var: Annotated[
        str | None, Setting("The environment variable that contains the token for `Authorization: Bearer`.")
    ] = None
    http_headers: Annotated[Mapping[str, str], Setting("Headers of every request.")] = field(
        default_factory=dict, repr=False
    )
    env_http_headers: Annotated[
        Mapping[str, str], Setting("Headers of every request whose values are the names of environment variables.")
    ] = field(default_factory=dict)
    allow_private: Annotated[
        bool, Setting("Whether the host of `url` may have a private or loopback address; not for users.")
    ] = False
    enabled: Annotated[bool, Setting("Whether threads use the server.")] = True
    required: Annotated[bool, Setting("Whether a turn fails when the server cannot be used.")] = False
    startup_timeout_sec: Annotated[float, Setting("How long the server may take to start.", unit="s")] = 30.0
    tool_timeout_sec: Annotated[float, Setting("How long a call of a tool may take.", unit="s")] = 120.0
    enabled_tools: Annotated[tuple[str, ...] | None, Setting("The only tools that are used.", default="all")] = None
    disabled_tools: Annotated[tuple[str, ...], Setting("Tools that are not used; wins over `enabled_tools`.")] = ()
    default_tools_approval_mode: Annotated[
        str,
        Setting(
            "When calls need an approval: auto (unless the tool says that it only reads), prompt (always) or approve "
            "(never).",
            choices=APPROVAL_MODES,
        ),
    ] = AUTO
    tools: Annotated[Mapping[str, McpTool], Setting("Settings of single tools.")] = field(default_factory=dict)
    supports_parallel_tool_calls: Annotated[
        bool, Setting("Whether calls of one answer of the model may run side by side.")
    ] = False
    scopes: Annotated[tuple[str, ...], Setting("OAuth scopes to ask for.")] = ()
    oauth_resource: Annotated[str | None, Setting("The OAuth resource parameter (RFC 8707).")] = None
    name: str = ""
    table: Mapping[str, Any] = field(default_factory=dict, repr=False)  # as it is written
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)  # env and env_vars, with values
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # all headers, with values

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> McpServer:
        """Read the variables that the settings name. Errors: ConfigError (neither command nor url, or both)."""
        if ("command" in values) == ("url" in values):
            raise table.error("command", "either a command or a url", table.get("command"))
        environ = table.environ
        forwarded = {name: environ[name] for name in values.get("env_vars", ()) if name in environ}
        named = {header: environ.get(name) for header, name in values.get("env_http_headers", {}).items()}
        headers = {**values.get("http_headers", {}), **{header: value for header, value in named.items() if value}}
        if token := environ.get(values.get("bearer_token_env_var", "")):
            headers["Authorization"] = f"Bearer {token}"
        variables = {**forwarded, **values.get("env", {})}
        return cls(**values, name=table.entry, table=table.values, variables=variables, headers=headers)

    @property
    def is_valid_name(self) -> bool:
        return NAME.fullmatch(self.name) is not None

    def uses_tool(self, name: str) -> bool:
        """Return whether a tool is used, by its name at the server."""
        return name not in self.disabled_tools and (self.enabled_tools is None or name in self.enabled_tools)

    def approval_mode(self, tool: str) -> str:
        """Return "auto", "prompt" or "approve", for a tool by its name at the server."""
        own = self.tools.get(tool)
        return (own and own.approval_mode) or self.default_tools_approval_mode

    @property
    def origin(self) -> str | None:
        """Scheme and host of an HTTP server; None for a program."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@dataclass(frozen=True)
class UserMcp:
    """What clients may bring.

    allowed:  whether they may bring anything
    local:    the user may bring any server: it is their own machine
    hosts:    of HTTP servers that other users may bring
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


def read_server(name: str, table: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> McpServer:
    """Return a server as a client describes it. environ: variables that it may name. Errors: ConfigError."""
    servers = ConfigTable(Path("config"), environ or {}, {"mcp_servers": {name: table}}).tables("mcp_servers")
    return read(McpServer, servers[name])


def merge_layers(*layers: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return tables of servers over each other, the last the strongest; keys of one server are merged."""
    merged: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for name, table in layer.items():
            if isinstance(table, Mapping):
                merged[name] = _over(merged.get(name, {}), table)
    return merged


def servers_of_config(values: Mapping[str, object]) -> dict[str, dict[str, Any]]:
    """Return the servers in `config` of a request: the table `mcp_servers`, and keys like `mcp_servers.NAME.args`."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        head, _, rest = key.partition(".")
        if head != "mcp_servers":
            continue
        nested: Any = value
        for part in reversed(_segments(rest)):
            nested = {part: nested}
        if isinstance(nested, Mapping):
            found = merge_layers(found, nested)
    return found


def effective_servers(
    operator: Mapping[str, McpServer],
    brought: Mapping[str, Mapping[str, Any]],
    policy: UserMcp,
    environ: Mapping[str, str] | None = None,
) -> tuple[dict[str, McpServer], list[str]]:
    """Return a thread's servers by name, sorted, and sentences about what clients brought in vain.

    operator: the operator's servers
    brought:  what clients brought, as `merge_layers` returns it
    environ:  the variables that a local user's servers may name
    """
    servers, refused = dict(operator), []
    for name, table in brought.items():
        try:
            servers[name] = _brought(name, table, operator.get(name), policy, environ)
        except ConfigError as error:
            refused.append(str(error))
    if len(servers) > MAX_SERVERS:
        refused.append(f"mcp_servers: a thread has at most {MAX_SERVERS} servers; the others are left out")
    return dict(sorted(servers.items())[:MAX_SERVERS]), refused


def _brought(
    name: str,
    table: Mapping[str, Any],
    own: McpServer | None,
    policy: UserMcp,
    environ: Mapping[str, str] | None,
) -> McpServer:
    if not policy.allowed:
        raise ConfigError(f"mcp_servers.{name[:80]}: this server does not let clients bring MCP servers")
    if policy.local:
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
        host = urlsplit(server.url).hostname or ""
        if host not in {one.lower() for one in policy.hosts}:
            raise ConfigError(
                f"mcp_servers.{name[:80]}: the host {host[:200]!r} is not in [server] user_mcp_hosts; ask the operator"
            )
        return server
    if [server.command or "", *server.args] not in map(shlex.split, policy.commands):
        raise ConfigError(
            f"mcp_servers.{name[:80]}: its command is not in [server] user_mcp_commands; ask the operator for it"
        )
    return replace(server, cwd="." if server.cwd == "." else None)


def _narrowed(own: McpServer, asked: McpServer, table: Mapping[str, Any]) -> McpServer:
    """Return an operator's server with what a user asks for: fewer tools, and no approval that the operator demands."""
    values: dict[str, Any] = {key: getattr(asked, key) for key in NARROWING if key in table}
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


def _segments(path: str) -> list[str]:
    """Return the segments of a dotted key; one in quotes may contain dots."""
    found = re.findall(r'"([^"]*)"|([^."]+)', path)
    return [quoted or plain for quoted, plain in found]
