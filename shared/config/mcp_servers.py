"""`[mcp_servers.NAME]`: the MCP servers whose tools the models of threads may call (docs/MCP.md).

The same reader checks the operator's servers and those that clients bring (shared.config.client_mcp_servers).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from shared.config.reader import Values, read
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.config.urls import EXPECTED, is_http_url

AUTO, PROMPT, APPROVE = "auto", "prompt", "approve"
APPROVAL_MODES = (AUTO, PROMPT, APPROVE)
NAME = re.compile(r"[a-zA-Z0-9_:@/.-]+")
LONGEST_SECONDS = 1_000_000_000  # a longer time is more than threads can wait for
# Headers that belong to one connection or to its body, which the HTTP client makes (RFC 9110, 7.6.1).
NOT_HEADERS = (
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


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
            matches=partial(is_http_url, with_user=True),
            expected=EXPECTED,
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
    startup_timeout_sec: Annotated[
        float, Setting("How long the server may take to start.", unit="s", maximum=LONGEST_SECONDS)
    ] = 30.0
    tool_timeout_sec: Annotated[
        float, Setting("How long a call of a tool may take.", unit="s", maximum=LONGEST_SECONDS)
    ] = 120.0
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
        _check_headers(values, table)
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


def _check_headers(values: Values, table: ConfigTable) -> None:
    for key in ("http_headers", "env_http_headers"):
        for name, value in values.get(key, {}).items():
            if not _HEADER.fullmatch(name) or name.lower() in NOT_HEADERS or not _HEADER_VALUE.fullmatch(value):
                raise table.error(f"{key}.{name[:80]}", "a header that requests may have, in one line of ASCII", value)


def read_server(name: str, table: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> McpServer:
    """Return a server as a client describes it. environ: variables that it may name. Errors: ConfigError."""
    servers = ConfigTable(Path("config"), environ or {}, {"mcp_servers": {name: table}}).tables("mcp_servers")
    return read(McpServer, servers[name])
