"""config/value/write: Set one key of the user's own configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from api.requests import user_config
from api.requests.context import Context
from api.requests.examples import CONFIG_EDIT, CONFIG_WRITTEN, Example
from api.requests.params import MethodParams
from shared.errors import ConfigWriteRefused, Conflict, InvalidParams, StaleConfigVersion

NAME = "config/value/write"

MergeStrategy = Literal["replace", "upsert"]


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The user's own configuration lies between the server's configuration and what a request asks for.

    `tools.view_image` is stored and shown, and has no effect on threads. `projects` says whether the
    `.codex/config.toml` of a folder counts for new threads, and `hooks.state` which hooks the user trusts (hooks/list).

    key_path: a key of config.toml that sets a thread's default, "web_search", or a key of "tools" or "projects", as in
        `projects."/home/me/a.b".trust_level`; a quoted segment is one key
    value:    null removes the key
    merge_strategy: "upsert" keeps the keys of a table that the new value does not have
    expected_version: refuse the write unless the configuration has this version
    file_path: only the one that config/read names
    Errors:   ConfigWriteRefused (the key, its value or the file), StaleConfigVersion; `config_write_error_code` of the
              error's data is configValidationError, configLayerReadonly or configVersionConflict
    Source:   PROTOCOL 5.12
    """

    key_path: str
    value: object
    merge_strategy: MergeStrategy
    expected_version: str | None = None
    file_path: str | None = None


@dataclass(frozen=True)
class Result:
    """version: the version of the user's configuration after the write"""

    status: Literal["ok"]
    version: str
    file_path: str
    overridden_metadata: None


class EditParams(Protocol):
    """One key to set; the params of both methods that write have these members."""

    @property
    def key_path(self) -> str: ...

    @property
    def value(self) -> object: ...

    @property
    def merge_strategy(self) -> MergeStrategy: ...


EXAMPLE = Example(params=CONFIG_EDIT, result=CONFIG_WRITTEN)


def handle(ctx: Context, params: Params) -> Result:
    return write(ctx, NAME, [params], params.expected_version, params.file_path)


def write(
    ctx: Context, name: str, wanted: Sequence[EditParams], expected_version: str | None, file_path: str | None
) -> Result:
    """Make the edits of a request. name: the method, for the audit log."""
    user_config.check_file(file_path)
    try:
        version = user_config.parse_version(expected_version)
        edits = [user_config.Edit.of(edit.key_path, edit.value, edit.merge_strategy) for edit in wanted]

        def change(values: Mapping[str, object]) -> Mapping[str, object]:
            return user_config.apply_edits(ctx.config, ctx.user_id, values, edits)

        new = ctx.store.user_configs.change(ctx.user_id, change, version, audit_entry=ctx.audit_entry(name))
    except InvalidParams as error:
        raise ConfigWriteRefused(str(error)) from None
    except Conflict as error:
        raise StaleConfigVersion(str(error)) from None
    return Result(status="ok", version=str(new), file_path=user_config.FILE, overridden_metadata=None)
