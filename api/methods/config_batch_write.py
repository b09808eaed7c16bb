"""config/batchWrite: Set several keys of the user's own configuration at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from marshmallow import validate

from api.methods import config_value_write
from api.methods.config_value_write import MergeStrategy
from api.requests.context import Context
from api.requests.examples import CONFIG_EDIT, CONFIG_WRITTEN, Example
from api.requests.params import MethodParams

NAME = "config/batchWrite"
MAX_EDITS = 64


@dataclass(frozen=True, kw_only=True)
class ConfigEdit:
    """One key to set, as in config/value/write."""

    key_path: str
    value: object
    merge_strategy: MergeStrategy


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """All edits are made, or none. Threads that exist already keep their settings.

    expected_version: refuse the edits unless the configuration has this version
    file_path: only the one that config/read names
    Errors:    as of config/value/write
    Source:    PROTOCOL 5.12
    """

    edits: Annotated[list[ConfigEdit], validate.Length(0, MAX_EDITS)]
    expected_version: str | None = None
    file_path: str | None = None


Result = config_value_write.Result


EXAMPLE = Example(params={"edits": [CONFIG_EDIT]}, result=CONFIG_WRITTEN)


def handle(ctx: Context, params: Params) -> Result:
    return config_value_write.write(ctx, NAME, params.edits, params.expected_version, params.file_path)
