"""One table of config.toml: checked values out, unknown keys remembered. `shared.config` says which keys there are."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from shared.errors import ConfigError

# Sections of Codex, or of a later version of ours, that a config.toml may have and that do nothing here.
SECTIONS_WITHOUT_EFFECT = (
    "mcp_servers",
    "profiles",
    "features",
    "tui",
    "projects",
)

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigTable:
    """One TOML table: checked values out, and a memory of the keys that were asked for."""

    def __init__(self, file: Path, name: str, values: Mapping[str, Any]) -> None:
        self.file = file
        self._name = name
        self._values = values
        self._known: set[str] = set()
        self._tables: list[ConfigTable] = []
        self._warnings: list[str] = []

    def error(self, key: str, expectation: str, found: object, *, show: bool = False) -> ConfigError:
        """show: whether `found`, a string, is told too; a string may be a secret that stands in the wrong place."""
        if found is None:
            what = "nothing"
        elif isinstance(found, bool):
            what = f"the boolean {str(found).lower()}"
        elif isinstance(found, int | float):
            what = f"the number {found}"
        elif isinstance(found, str):
            what = f'"{found}"' if show else "a string" if found else "an empty string"
        else:
            what = "a list" if isinstance(found, list) else "a table" if isinstance(found, dict) else "a date or time"
        return ConfigError(f"{self.file}: {self._name}{key}: expected {expectation}, found {what}")

    def path_of(self, key: str) -> str:
        """A key as errors name it."""
        return f"{self._name}{key}"

    def warn(self, sentence: str) -> None:
        self._warnings.append(f"{self.file}: {self._name}{sentence}")

    def warnings(self) -> tuple[str, ...]:
        """Every remark about this table and those below, once all known keys have been asked for."""
        for key in self._values:
            if key in self._known:
                continue
            if not self._name and key in SECTIONS_WITHOUT_EFFECT:
                self.warn(f"{key}: not in effect in this version")
                continue
            near = difflib.get_close_matches(key, sorted(self._known), n=1)
            self.warn(f"{key}: unknown key, ignored" + (f"; did you mean {near[0]}?" if near else ""))
        return tuple(self._warnings) + tuple(line for table in self._tables for line in table.warnings())

    def has(self, key: str) -> bool:
        """Whether the file says anything about it."""
        return key in self._values

    def text(self, key: str) -> str | None:
        value = self._get(key)
        if value is not None and (not isinstance(value, str) or not value):
            raise self.error(key, "a string", value)
        return value if value is None else str(value)

    def expanded(self, key: str, environ: Mapping[str, str]) -> str | None:
        """A text with each ${VAR} from the environment. Errors: ConfigError that names a variable that is not set."""

        def value_of(found: re.Match[str]) -> str:
            value = environ.get(found[1])
            if not value:
                raise self.error(key, f"the environment variable {found[1]} to be set", None)
            return value

        text = self.text(key)
        return None if text is None else VARIABLE.sub(value_of, text)

    def choice(self, key: str, choices: Collection[str]) -> str | None:
        value = self._get(key)
        if value is not None and value not in choices:
            raise self.error(key, f"one of {', '.join(choices)}", value, show=True)
        return value if value is None else str(value)

    def choices(self, key: str, choices: tuple[str, ...]) -> tuple[str, ...]:
        """Some of the choices, at least one; all of them when the key is not there."""
        values = self.texts(key) if key in self._values else choices
        if not values or not set(values) <= set(choices):
            raise self.error(key, f"a list of some of {', '.join(choices)}", list(values))
        return values

    def flag(self, key: str, default: bool) -> bool:
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false", value)
        return value

    def integer(self, key: str, default: int, *, at_least: int = 0, at_most: int | None = None) -> int:
        value = self._get(key)
        if value is None:
            return default
        in_range = type(value) is int and value >= at_least and (at_most is None or value <= at_most)
        if not in_range:
            limits = f"of {at_least} or more" if at_most is None else f"from {at_least} to {at_most}"
            raise self.error(key, f"an integer {limits}", value)
        return int(value)

    def seconds(self, key: str, default: float) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.error(key, "a number of seconds above 0", value)
        return float(value)

    def several_seconds(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        values = self._get(key, list(default))
        usual = isinstance(values, list) and all(type(one) in (int, float) and 0 < one < math.inf for one in values)
        if not usual:
            raise self.error(key, "a list of numbers of seconds above 0", values)
        return tuple(map(float, values))

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.error(key, "a list of strings", value)
        return tuple(value)

    def path(self, key: str, home: Path) -> Path | None:
        """A path; a relative one starts at home."""
        text = self.text(key)
        return home / Path(text).expanduser() if text else None

    def absolute_paths(self, key: str) -> tuple[str, ...]:
        paths = tuple(str(Path(text).expanduser()) for text in self.texts(key))
        for path in paths:
            if not Path(path).is_absolute():
                raise self.error(key, "a list of absolute paths", path, show=True)
        return paths

    def mapping(self, key: str) -> dict[str, str]:
        value = self._get(key, {})
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise self.error(key, "a table of strings", value)
        return value

    def table(self, key: str) -> ConfigTable:
        value = self._get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, "a table", value)
        self._tables.append(ConfigTable(self.file, f"{self._name}{key}.", value))
        return self._tables[-1]

    def choice_or_table(self, key: str, choices: Collection[str]) -> str | ConfigTable | None:
        """One of the choices, or a table that says more."""
        return self.table(key) if isinstance(self._values.get(key), dict) else self.choice(key, choices)

    def tables(self, key: str) -> dict[str, ConfigTable]:
        """A table whose values are tables."""
        parent = self.table(key)
        return {name: parent.table(name) for name in parent._values}

    def array(self, key: str) -> list[ConfigTable]:
        """An array of tables, as [[key]] makes one."""
        values = self._get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.error(key, f"tables, each under [[{key}]]", values)
        tables = [ConfigTable(self.file, f"{self._name}{key}[{i}].", value) for i, value in enumerate(values)]
        self._tables += tables
        return tables

    def tables_of(self, keys: Collection[str]) -> dict[str, ConfigTable]:
        """Those of these tables that are there."""
        return {key: self.table(key) for key in keys if key in self._values}

    def _get(self, key: str, default: Any = None) -> Any:
        self._known.add(key)
        return self._values.get(key, default)
