"""`[hooks]` and HOME/hooks.json: the operator's hooks (docs/HOOKS.md)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

from shared.config.reader import Values
from shared.config.setting import Setting
from shared.config.table import ConfigTable
from shared.errors import ConfigError
from shared.hook_files import HookFile, HookFileError, parse_json, read_events
from shared.protocol.hooks import EVENTS

HOME = "/threadhouse"  # as clients know the home: the real folder is not shown to them
FILE = "hooks.json"


@dataclass(frozen=True)
class HookSettings:
    """Programs that run at events of turns (docs/HOOKS.md); each event is a key, as in hooks.json.

    found: the hooks of HOME/hooks.json, then those of config.toml, with the source `user`
    """

    required: Annotated[
        bool,
        Setting("Whether a call or a prompt is refused when a hook that was to decide about it fails."),
    ] = False
    found: HookFile = field(default_factory=HookFile)

    @classmethod
    def from_settings(cls, values: Values, table: ConfigTable) -> HookSettings:
        """Errors: ConfigError (a file of hooks that cannot be read)."""
        file = table.home / FILE
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            data = b"{}"
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
        events = {name: table.get(name) for name in EVENTS if table.has(name)}
        try:
            found = parse_json(data, f"{HOME}/{FILE}", "user") + read_events(events, f"{HOME}/config.toml", "user")
        except HookFileError as error:
            raise ConfigError(str(error).replace(HOME, str(table.home))) from None
        return replace(cls(**values), found=found)
