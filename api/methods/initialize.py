"""initialize: who the client is, and what it does not want to hear."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from api.settings import CODEX_HOME
from shared.protocol.base import WireSchema
from shared.protocol.thread import CODEX_VERSION

NAME = "initialize"


class ClientInfo(ParamsSchema):
    """Shape: {"name", "version", "title"?}"""

    name = fields.Str(required=True)
    version = fields.Str(required=True)


class Capabilities(ParamsSchema):
    """Shape: {"optOutNotificationMethods": [exact method names]?}"""

    opt_out_notification_methods = fields.List(fields.Str(), load_default=[])


class Params(ParamsSchema):
    """The handshake; on WebSocket it comes first, once.

    Shape:  {"clientInfo": ClientInfo, "capabilities": Capabilities?}
    Errors: InvalidParams; InvalidRequest (the second time)
    Source: PROTOCOL section 2
    """

    client_info = fields.Nested(ClientInfo, required=True)
    capabilities = fields.Nested(Capabilities, load_default={})


class Result(WireSchema):
    """user_agent: `name/version …`, which the Python SDK takes apart."""

    user_agent = fields.Str()
    codex_home = fields.Str()
    platform_family = fields.Str()
    platform_os = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    client = params["client_info"]
    if ctx.connection is not None:
        ctx.connection.initialize(client["name"], params["capabilities"].get("opt_out_notification_methods", []))
    server = f"threadhouse/{CODEX_VERSION} (Linux; {platform.machine()}) threadhouse/{version('threadhouse')}"
    return {
        "user_agent": f"{server} ({client['name']}; {client['version']})",
        "codex_home": CODEX_HOME,
        "platform_family": "unix",
        "platform_os": "linux",
    }
