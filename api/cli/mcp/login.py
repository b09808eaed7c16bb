"""Logging a user in at an MCP server, over a running server: the user of THREADHOUSE_TOKEN."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import orjson

from api.cli.bridge.messages import Message
from api.cli.bridge.server_connection import DISCONNECTED, ServerConnection
from shared.errors import InvalidRequest, Unavailable

COMPLETED = "mcpServer/oauthLogin/completed"


def log_in(
    url: str,
    token: str | Callable[[], str] | None,
    name: str,
    scopes: Sequence[str] | None,
    show_url: Callable[[str], None],
) -> None:
    """Log in and wait for the end. show_url: gets where the user's browser has to go.

    Errors: InvalidRequest (what the server says); Unavailable, Unauthorized
    """
    connection = ServerConnection(url.replace("http", "ws", 1), token)
    completed: list[Any] = []

    def handle_other(data: bytes, message: Message) -> None:
        if message.get("method") == COMPLETED:
            completed.append(message["params"])

    try:
        client = {"clientInfo": {"name": "threadhouse", "version": version("threadhouse")}}
        connection.request("initialize", client, handle_other)
        connection.send(orjson.dumps({"method": "initialized"}))
        params = {"name": name, **({"scopes": list(scopes)} if scopes is not None else {})}
        reply = connection.request("mcpServer/oauth/login", params, handle_other)
        if "error" in reply:
            raise InvalidRequest(reply["error"]["message"])
        show_url(reply["result"]["authorizationUrl"])
        while not completed:
            handle_other(*connection.receive())
    except DISCONNECTED as error:
        raise Unavailable(f"the connection to {url} broke: {error}; begin the login again") from None
    finally:
        connection.drop()
    if not completed[0]["success"]:
        raise InvalidRequest(completed[0]["error"])
