"""`[workspaces]`: what a thread's workspace may be made from, and the check of a client's source against it.

A source is {"gitUrl", "ref"?, "credential"?}, {"archive": id of an upload} or, for forks, {"forkOf": thread id}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.config.urls import PORTS
from shared.errors import ConfigError, InvalidParams

EVERYBODY = "*"
USERS = f'names of the users who may use it, or ["{EVERYBODY}"]'
MAX_URL_CHARACTERS = 2000
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?")
PATH = re.compile(r"(?:/[A-Za-z0-9._~%+@=,-]+)+/?")
REF = re.compile(r"(?![-./])(?!.*(?:\.\.|//|@\{|/\.|\.lock/))[^\0-\x20\x7f~^:?*\[\\]{1,250}(?<![./])(?<!\.lock)")


@dataclass(frozen=True)
class GitHost:
    """A host that repositories may be cloned from: HOST or HOST:PORT, in lower case."""

    private: Annotated[bool, Setting("Whether the host may have a private, loopback or link-local address.")] = False
    http: Annotated[bool, Setting("Whether plain http is allowed too.")] = False

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> GitHost:
        """Errors: ConfigError (the name is no host)."""
        if not HOST.fullmatch(table.entry):
            wrong = f"expected a lower-case host or host:port: {table.entry}"
            raise ConfigError(f"{table.file}: workspaces.git_hosts: {wrong}")
        return cls(**values)


@dataclass(frozen=True)
class GitCredential:
    """A token for a git host. Clients name it and never see it."""

    host: Annotated[
        str,
        Setting(
            "The only host that the token is sent to: HOST or HOST:PORT.",
            matches=HOST.fullmatch,
            expected="the host or host:port that it is for, in lower case",
        ),
    ]
    users: Annotated[
        tuple[str, ...],
        Setting(
            'Names of the users who may use it; ["*"] is everybody.',
            expected=USERS,
        ),
    ]
    username: Annotated[str, Setting("The user name that is sent with the token.")] = "x-access-token"
    token_env: Annotated[
        str,
        Setting(
            "The environment variable that contains the token.",
            required=True,
            expected="the name of the environment variable that holds the token",
        ),
    ] = ""
    token: str | None = field(default=None, repr=False)  # the value of token_env; None: the variable is not set

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> GitCredential:
        """Read the token from the environment. Errors: ConfigError (no users)."""
        if not values["users"]:
            raise table.error("users", USERS, None)
        return cls(**values, token=table.environ.get(values["token_env"]) or None)


@dataclass(frozen=True)
class WorkspaceSettings:
    """What workspaces may be made from, and how large they may be then."""

    git_hosts: Annotated[
        Mapping[str, GitHost], Setting("Hosts that repositories may be cloned from.", default="no git")
    ] = field(default_factory=dict)
    credentials: Annotated[Mapping[str, GitCredential], Setting("Tokens for git hosts.")] = field(default_factory=dict)
    git_depth: Annotated[int, Setting("Commits of history that a clone has; 0 means all.")] = 50
    git_seconds: Annotated[float, Setting("How long a clone may take.", unit="s")] = 600.0
    max_bytes: Annotated[
        int, Setting("Size of a new workspace, and of what is fetched for it.", unit="bytes", minimum=1)
    ] = 2 << 30
    max_entries: Annotated[int, Setting("Files, folders and links in a new workspace.", minimum=1)] = 200_000
    archive_bytes: Annotated[int, Setting("Size of one uploaded archive.", unit="bytes", minimum=1)] = 256 << 20


@dataclass(frozen=True)
class GitSource:
    """A repository that may be cloned.

    host:       without brackets
    credential: what to authenticate with; its token is set
    """

    url: str
    scheme: str
    host: str
    port: int
    ref: str | None
    allowed: GitHost
    credential: GitCredential | None


def git_source(workspaces: WorkspaceSettings, user_name: str, source: Mapping[str, Any]) -> GitSource:
    """Check a source with a gitUrl against what the operator allows this user. Errors: InvalidParams."""
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
            raise InvalidParams(f"workspace.credential: you have no credential {name[:80]!r} for {names[0]}")
        if credential.token is None:
            raise InvalidParams(f"workspace.credential: {name!r} has no token: the server needs {credential.token_env}")
    return GitSource(url, scheme, host, port, ref, allowed, credential)


def _parsed(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port) of a URL that has only these and a path. Errors: InvalidParams."""
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
    """Return the names under which the operator may have allowed a host."""
    shown = f"[{host}]" if ":" in host else host
    return [shown, f"{shown}:{port}"] if port == PORTS[scheme] else [f"{shown}:{port}"]
