"""What a thread's workspace may be made from: hosts and credentials as the operator allows them, `[workspaces]`.

A source is {"gitUrl", "ref"?, "credential"?}, {"archive": id of an upload} or, for forks, {"forkOf": thread id}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from shared.config_table import ConfigTable
from shared.errors import ConfigError, InvalidParams

EVERYBODY = "*"
MAX_URL_CHARACTERS = 2000
PORTS = {"https": 443, "http": 80}
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
PATH = re.compile(r"(?:/[A-Za-z0-9._~%+@=,-]+)+/?")
REF = re.compile(r"(?![-./])(?!.*(?:\.\.|//|@\{|/\.|\.lock/))[^\0-\x20\x7f~^:?*\[\\]{1,250}(?<![./])(?<!\.lock)")


@dataclass(frozen=True)
class GitHost:
    """`[workspaces.git_hosts."HOST"]` or `"HOST:PORT"`: where repositories may be cloned from."""

    private: bool = False  # it may have a private, loopback or link-local address
    http: bool = False  # it may be asked by plain http, too


@dataclass(frozen=True)
class GitCredential:
    """`[workspaces.credentials.NAME]`: what clients name and never see."""

    host: str  # the only one that it is sent to: HOST or HOST:PORT; required
    users: tuple[str, ...]  # names of the users who may use it; "*": everybody; required
    username: str = "x-access-token"  # what most hosts expect beside a token
    token_env: str = ""  # the environment variable that holds the token; required
    token: str | None = field(default=None, repr=False)  # its value; None: the variable is not set


@dataclass(frozen=True)
class Workspaces:
    """`[workspaces]`: code that comes in."""

    git_hosts: Mapping[str, GitHost] = field(default_factory=dict)  # none: no git
    credentials: Mapping[str, GitCredential] = field(default_factory=dict)
    git_depth: int = 50  # commits of history that a clone has; 0: all
    git_seconds: float = 600.0  # s that a clone may take
    max_bytes: int = 2 << 30  # of a workspace as it is made, and of what is fetched for it
    max_entries: int = 200_000  # files, folders and links of a workspace as it is made
    archive_bytes: int = 256 << 20  # of one uploaded archive


@dataclass(frozen=True)
class GitSource:
    """A repository that may be cloned, and how it is asked. credential: its token is there."""

    url: str
    scheme: str
    host: str  # without brackets
    port: int
    ref: str | None
    allowed: GitHost
    credential: GitCredential | None


def read_workspaces(table: ConfigTable, environ: Mapping[str, str]) -> Workspaces:
    """Errors: ConfigError."""
    hosts = {}
    for name, host in table.tables("git_hosts").items():
        if not HOST.fullmatch(name):
            raise ConfigError(f"{table.file}: workspaces.git_hosts: expected a lower-case host or host:port: {name}")
        hosts[name] = GitHost(host.flag("private", GitHost.private), host.flag("http", GitHost.http))
    return Workspaces(
        git_hosts=hosts,
        credentials={name: _credential(one, environ) for name, one in table.tables("credentials").items()},
        git_depth=table.integer("git_depth", Workspaces.git_depth),
        git_seconds=table.seconds("git_seconds", Workspaces.git_seconds),
        max_bytes=table.integer("max_bytes", Workspaces.max_bytes, at_least=1),
        max_entries=table.integer("max_entries", Workspaces.max_entries, at_least=1),
        archive_bytes=table.integer("archive_bytes", Workspaces.archive_bytes, at_least=1),
    )


def _credential(table: ConfigTable, environ: Mapping[str, str]) -> GitCredential:
    host, token_env, users = table.text("host"), table.text("token_env"), table.texts("users")
    if host is None or not HOST.fullmatch(host):
        raise table.error("host", "the host or host:port that it is for, in lower case", host)
    if token_env is None:
        raise table.error("token_env", "the name of the environment variable that holds the token", token_env)
    if not users:
        raise table.error("users", f'names of the users who may use it, or ["{EVERYBODY}"]', None)
    username = table.text("username") or GitCredential.username
    return GitCredential(host, users, username, token_env, environ.get(token_env) or None)


def git_source(workspaces: Workspaces, user_name: str, source: Mapping[str, Any]) -> GitSource:
    """A source with a gitUrl, checked against what the operator allows this user. Errors: InvalidParams."""
    url, ref, name = source["gitUrl"], source.get("ref"), source.get("credential")
    scheme, host, port = _parsed(url)
    if ref is not None and not REF.fullmatch(ref):
        raise InvalidParams(f"workspace.ref: not a branch, tag or commit: {ref[:200]!r}")
    names = _names(scheme, host, port)
    allowed = next((workspaces.git_hosts[one] for one in names if one in workspaces.git_hosts), None)
    if allowed is None or (scheme == "http" and not allowed.http):
        known = ", ".join(sorted(workspaces.git_hosts)) or "none yet"
        raise InvalidParams(
            f"workspace.gitUrl: this server does not clone from {scheme}://{names[0]}; allowed hosts: {known} "
            "([workspaces.git_hosts] in config.toml)"
        )
    credential = None
    if name is not None:
        credential = workspaces.credentials.get(name)
        if credential is None or not {user_name, EVERYBODY} & set(credential.users) or credential.host not in names:
            raise InvalidParams(f"workspace.credential: there is none {name[:80]!r} for you and {names[0]}")
        if credential.token is None:
            raise InvalidParams(f"workspace.credential: {name!r} has no token on this server: {credential.token_env}")
    return GitSource(url, scheme, host, port, ref, allowed, credential)


def _parsed(url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of a URL that holds nothing but those and a path. Errors: InvalidParams."""
    wrong = InvalidParams("workspace.gitUrl: expected https://HOST/PATH, without user, password, query or fragment")
    if len(url) > MAX_URL_CHARACTERS or not url.isascii():
        raise wrong
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise wrong from None
    scheme, host = parts.scheme, parts.hostname or ""
    if scheme not in PORTS or url != f"{scheme}://{parts.netloc}{parts.path}" or not PATH.fullmatch(parts.path):
        raise wrong
    if not HOST.fullmatch(parts.netloc.lower()) or port == 0:
        raise wrong
    return scheme, host, port or PORTS[scheme]


def _names(scheme: str, host: str, port: int) -> list[str]:
    """What an operator may call that host."""
    shown = f"[{host}]" if ":" in host else host
    return [shown, f"{shown}:{port}"] if port == PORTS[scheme] else [f"{shown}:{port}"]
