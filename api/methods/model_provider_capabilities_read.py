"""modelProvider/capabilities/read: Show what the default provider of this server can do beside answering."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import NoParams

NAME = "modelProvider/capabilities/read"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params."""


@dataclass(frozen=True)
class Result:
    """What threads that choose no provider can do.

    image_generation: always false
    web_search: whether the provider, or this server for it, can search the web
    """

    image_generation: bool
    web_search: bool


EXAMPLE = Example(result={"imageGeneration": False, "webSearch": True})


def handle(ctx: Context, params: Params) -> Result:
    config = ctx.config
    provider = config.model_providers.get(config.model_provider)
    searches = config.web_search_endpoint is not None or (provider is not None and provider.web_search)
    return Result(image_generation=False, web_search=searches)
