"""`[server]`: this deployment and its processes."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from shared import encryption
from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.config.urls import is_http_url, origin_of
from shared.protocol.sandbox_modes import SANDBOX_MODES

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
LOG_FORMAT_VARIABLE = "THREADHOUSE_LOG_FORMAT"  # set by the option --log-format, for child processes too

HOUR = 3600.0
WEBHOOK_RETRY_SECONDS = (
    5.0,
    60.0,
    300.0,
    1800.0,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    20 * HOUR,
)  # 3 days in all


def _log_format(table: ConfigTable, key: str) -> str | None:
    """Return what an option of the command says, else what config.toml says. Errors: ConfigError."""
    configured = table.get(key)
    given: str | None = table.environ.get(LOG_FORMAT_VARIABLE) or configured
    if given is not None and given not in LOG_FORMATS:
        raise table.error(key, f"one of {', '.join(LOG_FORMATS)}", given, show=True)
    return given


@dataclass(frozen=True)
class Server:
    """This deployment and its processes."""

    workspaces_dir: Annotated[
        Path,
        Setting("Folder of the workspaces of threads whose client names none.", below_home="workspaces"),
    ]
    host: Annotated[str, Setting("Address that the API listens on.")] = "127.0.0.1"
    port: Annotated[int, Setting("Port that the API listens on.", minimum=1, maximum=65_535)] = 8765
    titles: Annotated[
        bool, Setting("Whether to serve the threads in which clients have a title written (a model call per prompt).")
    ] = True
    hosts: Annotated[
        tuple[str, ...],
        Setting("Host names that clients use for this server; when set, requests for other names are refused."),
    ] = ()
    proxies: Annotated[
        int,
        Setting(
            "Number of proxies in front that set X-Forwarded-For; the client's address is the one that the last of "
            "them saw."
        ),
    ] = 0
    sandbox_modes: Annotated[
        tuple[str, ...] | None,
        Setting(
            "Sandbox modes that clients may ask for, beside the default one.",
            choices=SANDBOX_MODES,
            default="all; without danger-full-access for users with keys",
        ),
    ] = None
    workspace_roots: Annotated[
        tuple[str, ...],
        Setting(
            "Folders below which the local user may work, beside their own workspaces; when empty, they may work "
            "anywhere. Threads of users with keys work in their own workspaces only.",
            absolute=True,
        ),
    ] = ()
    sessions_dir: Annotated[
        Path | None, Setting("Folder of the session files.", default="HOME/sessions with SQLite, otherwise none")
    ] = None
    share_days: Annotated[
        int,
        Setting(
            "Longest life of a link by which others read a thread; 0: nobody makes or opens one.",
            unit="days",
            minimum=0,
            maximum=90,
        ),
    ] = 90
    lease_seconds: Annotated[float, Setting("How long a claim holds without a renewal.", unit="s")] = 30.0
    renewal_seconds: Annotated[
        float, Setting("Time between two renewals of a claim.", unit="s", default="lease_seconds / 3")
    ] = 10.0
    authority_seconds: Annotated[
        float,
        Setting(
            "How long after its last successful renewal a worker goes on with a turn; then it stops by itself.",
            unit="s",
            default="lease_seconds × 25/30",
        ),
    ] = 25.0
    drain_seconds: Annotated[
        float,
        Setting("How long an API process that was asked to stop lets running requests finish.", unit="s", minimum=0),
    ] = 10.0
    sweep_seconds: Annotated[float, Setting("Time between two sweeps of a worker process.", unit="s")] = 5.0
    approval_timeout_seconds: Annotated[
        float, Setting("How long an approval request may stay unanswered before it is declined.", unit="s")
    ] = 604_800.0
    max_lost_attempts: Annotated[
        int,
        Setting(
            "How often a turn may lose its worker, in a row without progress or in a tool call; one more fails it."
        ),
    ] = 3
    worker_concurrency: Annotated[
        int, Setting("Turns and worker calls that one worker process runs at the same time.", minimum=1)
    ] = 200
    worker_niceness: Annotated[
        int,
        Setting(
            "How far workers give way to other processes of their host when it is busy, so that requests are answered "
            "before turns go on: 0 (not at all) to 19 (`man 7 sched`).",
            minimum=0,
            maximum=19,
        ),
    ] = 7
    tool_runner: Annotated[
        Path | None,
        Setting("Socket of `threadhouse runner`.", default="none: each worker starts a runner of its own"),
    ] = None
    user_mcp: Annotated[
        bool,
        Setting(
            "Whether clients may bring MCP servers: the local user any, users with keys those of `user_mcp_hosts` and "
            "`user_mcp_commands`."
        ),
    ] = True
    user_mcp_hosts: Annotated[
        tuple[str, ...],
        Setting(
            "Hosts of the HTTP MCP servers that users with keys may bring: `HOST` is https and port 443; `HOST:PORT` "
            "and `http://HOST` name others."
        ),
    ] = ()
    user_mcp_commands: Annotated[
        tuple[str, ...],
        Setting("Command lines (program and arguments) that users with keys may bring as MCP servers."),
    ] = ()
    mcp_idle_seconds: Annotated[
        float, Setting("How long an MCP server stays started after its last use.", unit="s")
    ] = 600.0
    mcp_servers_per_user: Annotated[
        int, Setting("MCP servers that one worker process keeps started for one user.", minimum=1)
    ] = 32
    mcp_servers_per_worker: Annotated[int, Setting("MCP servers that one worker process keeps started.", minimum=1)] = (
        200
    )
    public_url: Annotated[
        str | None,
        Setting(
            "Address of the API as the browsers of its users reach it; MCP servers and the provider of [auth.oidc] "
            "send them there after a login.",
            matches=re.compile(r"https?://[^/?#]+(/[^?#]*)?").fullmatch,
            expected="an http:// or https:// URL",
            default="http://127.0.0.1:PORT",
        ),
    ] = None
    secrets_key: Annotated[
        str | None,
        Setting(
            "Key that encrypts the logins of users at MCP servers: 32 random bytes in base64url. More keys may follow, "
            "separated by commas; they only decrypt.",
            env=encryption.VARIABLE,
            matches=encryption.KEYS.fullmatch,
            expected=encryption.EXPECTED,
            default="none: nobody can log in at an MCP server",
        ),
    ] = field(default=None, repr=False)
    dangerously_run_as_root: Annotated[
        bool, Setting("Whether workers run as root although the server has users or is reachable from other hosts.")
    ] = False
    log_level: Annotated[str, Setting("The least severe log lines that are written.", choices=LOG_LEVELS)] = "info"
    log_format: Annotated[
        str,
        Setting(
            "Log lines for people, or one JSON object per line for machines; `--log-format` of a command comes first.",
            choices=LOG_FORMATS,
            read=_log_format,
        ),
    ] = "text"
    event_log_length: Annotated[
        int,
        Setting("Events of a thread that Redis keeps; a client that was away longer reloads the thread.", minimum=1),
    ] = 10_000
    event_log_bytes: Annotated[
        int,
        Setting(
            "Size of the events of a thread that Redis keeps, beside `event_log_length`; the newest event is kept at "
            "any size.",
            unit="bytes",
            minimum=1 << 16,
        ),
    ] = 32 << 20
    notify_timeout_seconds: Annotated[
        float, Setting("How long a notify program may run before it is ended.", unit="s")
    ] = 30.0
    webhook_timeout_seconds: Annotated[
        float, Setting("How long one delivery to a webhook may take, from the name look-up to the answer.", unit="s")
    ] = 10.0
    webhook_retry_seconds: Annotated[
        tuple[float, ...],
        Setting("Time to wait after each failed delivery to a webhook; then the delivery is dead.", unit="s"),
    ] = WEBHOOK_RETRY_SECONDS

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> Server:
        """Scale renewal and authority with the lease and check their order. Errors: ConfigError."""
        lease = values.get("lease_seconds", cls.lease_seconds)
        derived = {"renewal_seconds": lease / 3, "authority_seconds": lease * 25 / 30}
        server = cls(**derived | values | {"hosts": tuple(name.lower() for name in values.get("hosts", cls.hosts))})
        if server.authority_seconds >= lease:
            raise table.error("authority_seconds", f"less than lease_seconds ({lease:g})", server.authority_seconds)
        if server.renewal_seconds >= server.authority_seconds:
            expectation = f"less than authority_seconds ({server.authority_seconds:g})"
            raise table.error("renewal_seconds", expectation, server.renewal_seconds)
        for host in server.user_mcp_hosts:
            if not _is_origin(host):
                raise table.error("user_mcp_hosts", "hosts, such as HOST, HOST:PORT or http://HOST", host, show=True)
        for command in server.user_mcp_commands:
            try:
                shlex.split(command)
            except ValueError:
                raise table.error("user_mcp_commands", "command lines without an open quote", command) from None
        public = urlsplit(server.public_url or "").hostname
        if public and server.hosts and public not in server.hosts:
            table.warn(f"public_url: {public} is not in hosts, so that browsers cannot come back from a login")
        return server

    @property
    def browser_url(self) -> str:
        """`public_url` or its default, without a slash at its end."""
        return (self.public_url or f"http://127.0.0.1:{self.port}").rstrip("/")


def allowed_origin(host: str) -> tuple[str, str, int]:
    """Return scheme, host and port that one of `user_mcp_hosts` stands for."""
    return origin_of(host if "://" in host else f"https://{host}")


def _is_origin(host: str) -> bool:
    url = host if "://" in host else f"https://{host}"
    return is_http_url(url) and not {"/", "?", "#"} & set(url.partition("://")[2])
