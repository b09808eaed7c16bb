"""modelProvider/default/set: Choose the provider of the caller's new threads, in the user's own configuration."""

from __future__ import annotations

from dataclasses import dataclass

from api.methods import config_value_write
from api.methods.config_value_write import MergeStrategy
from api.requests.context import Context
from api.requests.examples import CONFIG_WRITTEN, Example
from api.requests.params import MethodParams

NAME = "modelProvider/default/set"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The provider. It is the key `model_provider` of config/value/write.

    provider_id: one of modelProvider/list
    Errors:      ConfigWriteRefused (there is no such provider)
    """

    provider_id: str


@dataclass(frozen=True)
class _Edit:
    value: str
    key_path: str = "model_provider"
    merge_strategy: MergeStrategy = "replace"


Result = config_value_write.Result
EXAMPLE = Example(params={"providerId": "openai"}, result=CONFIG_WRITTEN)


def handle(ctx: Context, params: Params) -> Result:
    return config_value_write.write(ctx, NAME, [_Edit(params.provider_id)], None, None)
