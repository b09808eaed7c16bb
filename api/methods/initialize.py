"""initialize: Identify the client, and name the notifications that it does not want."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Sequence
from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import Label, MethodParams
from api.requests.settings import CODEX_HOME
from shared import telemetry
from shared.protocol.thread import CODEX_VERSION

NAME = "initialize"


@dataclass(frozen=True, kw_only=True)
class ClientInfo:
    """The client's name and version."""

    name: Label
    version: Label


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What the client wants.

    opt_out_notification_methods: exact names of notifications that are not sent to it
    """

    opt_out_notification_methods: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The handshake. On a WebSocket it is the first request, and is made once.

    Errors: InvalidParams; InvalidRequest (the second time)
    Source: PROTOCOL section 2
    """

    client_info: ClientInfo
    capabilities: Capabilities = dataclasses.field(default_factory=Capabilities)


@dataclass(frozen=True)
class Result:
    """The server.

    user_agent: begins with `name/version`, which the Python SDK parses
    codex_home: a placeholder: the server's folders are not shown to clients
    """

    user_agent: str
    codex_home: str
    platform_family: str
    platform_os: str


EXAMPLE = Example(
    params={"clientInfo": {"name": "my_client", "version": "1.0.0"}},
    result={
        "userAgent": "threadhouse/0.171.0 (Linux; x86_64) threadhouse/1.0 (my_client; 1.0.0)",
        "codexHome": "/threadhouse",
        "platformFamily": "unix",
        "platformOs": "linux",
    },
)


def handle(ctx: Context, params: Params) -> Result:
    client = params.client_info
    if ctx.connection is not None:
        ctx.connection.initialize(client.name, list(params.capabilities.opt_out_notification_methods))
    server = f"threadhouse/{CODEX_VERSION} (Linux; {platform.machine()}) threadhouse/{telemetry.VERSION}"
    return Result(
        user_agent=f"{server} ({client.name}; {client.version})",
        codex_home=CODEX_HOME,
        platform_family="unix",
        platform_os="linux",
    )
