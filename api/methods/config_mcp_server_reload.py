"""config/mcpServer/reload: Have the MCP servers of loaded threads follow the configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import NoParams
from api.requests.results import Empty
from shared.config import load
from shared.errors import ConfigError, McpRequestFailed
from shared.events import turn_signals
from shared.store.users import LOCAL_USER

NAME = "config/mcpServer/reload"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """Nothing. Failed servers of the user's threads are tried again; for the local user, config.toml is read again.

    Before the next model request of a thread its servers are checked: new ones are started, removed ones ended, failed
    ones tried again; those whose program and address are the same keep running.

    Errors: McpRequestFailed (config.toml cannot be read)
    Source: EXTENSIONS 8
    """


Result = Empty
EXAMPLE = Example()


def handle(ctx: Context, params: Params) -> Result:
    if ctx.user_id == LOCAL_USER:
        try:
            load(ctx.config.home, os.environ)
        except ConfigError as error:
            raise McpRequestFailed(f"failed to refresh MCP servers: {error}") from None
    turn_signals.publish(ctx.services.redis, turn_signals.RELOAD_MCP, ctx.user_id)
    return Result()
