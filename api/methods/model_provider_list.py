"""modelProvider/list: List the providers that serve models. Only the operator knows how they are reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from api.requests import settings
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.params import NoParams
from shared.config import OPENAI, SCRIPTED

NAME = "modelProvider/list"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params."""


class ProviderAuth(TypedDict):
    """How requests to the provider are authenticated: by the operator's configuration."""

    mode: Literal["externallyConfigured"]


class ProviderSettings(TypedDict):
    """The kind of a provider. auth: only of a customGateway"""

    type: Literal["openai", "customGateway"]
    auth: NotRequired[ProviderAuth]


class Provider(TypedDict):
    """A provider, without its address and its key."""

    id: str
    name: str
    baseUrl: None
    canEdit: bool
    settings: ProviderSettings


@dataclass(frozen=True)
class Result:
    """The providers.

    default_provider_id: the provider of threads that ask for none
    can_change_default: always true: modelProvider/default/set
    """

    data: Sequence[Provider]
    default_provider_id: str
    can_change_default: bool


EXAMPLE = Example(
    result={
        "data": [{"id": "openai", "name": "OpenAI", "baseUrl": None, "canEdit": False, "settings": {"type": "openai"}}],
        "defaultProviderId": "openai",
        "canChangeDefault": True,
    }
)


def handle(ctx: Context, params: Params) -> Result:
    names = {provider_id: provider.name for provider_id, provider in ctx.config.model_providers.items()}
    if ctx.config.model_provider == SCRIPTED:
        names = {SCRIPTED: "Scripted", **names}
    data: list[Provider] = [
        {"id": provider_id, "name": name, "baseUrl": None, "canEdit": False, "settings": _settings(provider_id)}
        for provider_id, name in names.items()
    ]
    own, _ = ctx.store.user_configs.get(ctx.user_id)
    default = settings.user_defaults(ctx.config, ctx.user_id, own).get("modelProvider", ctx.config.model_provider)
    return Result(data=data, default_provider_id=default, can_change_default=True)


def _settings(provider_id: str) -> ProviderSettings:
    if provider_id == OPENAI:
        return {"type": "openai"}
    return {"type": "customGateway", "auth": {"mode": "externallyConfigured"}}
