"""[shell_environment_policy]: the variables that commands run with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.shell_environment import INHERIT, is_settable


@dataclass(frozen=True)
class ShellEnvironment:
    """The variables of commands. Clients may set other values for their user or for a thread."""

    inherit: Annotated[
        str,
        Setting(
            "What commands inherit: `all` and `core`: PATH and HOME of the sandbox, never the server's environment.",
            choices=INHERIT,
        ),
    ] = "all"
    ignore_default_excludes: Annotated[
        bool,
        Setting("Whether inherited names with KEY, SECRET or TOKEN in them are kept."),
    ] = True
    exclude: Annotated[tuple[str, ...], Setting("Patterns of inherited names to leave out, with `*` and `?`.")] = ()
    set: Annotated[Mapping[str, str], Setting("Variables that commands have.")] = field(
        default_factory=dict, repr=False
    )
    include_only: Annotated[tuple[str, ...], Setting("Patterns of the only names to keep, if there are any.")] = ()

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> ShellEnvironment:
        for name in values.get("set", {}):
            if not is_settable(name):
                raise table.error(f"set.{name}", "a name that a shell can set", name, show=True)
        return cls(**values)
