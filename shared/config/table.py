"""One table of config.toml: its values, errors that name file and key, warnings about unknown keys."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.errors import ConfigError

# Sections of Codex, or of a later version of ours, that a config.toml may have and that have no effect here.
SECTIONS_WITHOUT_EFFECT = (
    "profiles",
    "features",
    "tui",
    "projects",
)


class ConfigTable:
    """One TOML table, which remembers the keys that were read, and the environment.

    file:    config.toml of the home folder, as errors name it
    environ: the environment variables
    entry:   the table's own key, such as NAME of [model_providers.NAME]
    """

    def __init__(
        self, file: Path, environ: Mapping[str, str], values: Mapping[str, Any], name: str = "", entry: str = ""
    ) -> None:
        self.file = file
        self.environ = environ
        self.entry = entry
        self._name = name
        self._values = values
        self._known: set[str] = set()
        self._tables: dict[str, ConfigTable] = {}
        self._warnings: list[str] = []

    @property
    def home(self) -> Path:
        """The folder of config.toml: relative paths start there."""
        return self.file.parent

    @property
    def values(self) -> Mapping[str, Any]:
        """The table as it is written."""
        return self._values

    def error(self, key: str, expectation: str, found: object, *, show: bool = False) -> ConfigError:
        """Return an error about a key. show: whether to quote a string that was found: it may be a misplaced secret."""
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

    def warn(self, sentence: str) -> None:
        """Remember a warning about this table."""
        self._warnings.append(f"{self.file}: {self._name}{sentence}")

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings of this table and of those below it. Call it after all settings have been read."""
        for key in self._values:
            if key in self._known:
                continue
            if not self._name and key in SECTIONS_WITHOUT_EFFECT:
                self.warn(f"{key}: not in effect in this version")
                continue
            near = difflib.get_close_matches(key, sorted(self._known), n=1)
            self.warn(f"{key}: unknown key, ignored" + (f"; did you mean {near[0]}?" if near else ""))
        return tuple(self._warnings) + tuple(line for table in self._tables.values() for line in table.warnings())

    def has(self, key: str) -> bool:
        """Return whether the file sets the key."""
        return key in self._values

    def get(self, key: str) -> Any:
        """Return the value of a key, which is known from now on; None when the file does not set it."""
        self._known.add(key)
        return self._values.get(key)

    def table(self, key: str) -> ConfigTable:
        """Return the table under a key; an empty one when the file does not set it. Errors: ConfigError."""
        value = self.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(key, "a table", value)
        return self._child(key, value or {})

    def tables(self, key: str) -> dict[str, ConfigTable]:
        """Return the tables under a key by their names, as [key.NAME] makes them. Errors: ConfigError."""
        parent = self.table(key)
        return {name: parent.table(name) for name in parent._values}

    def array(self, key: str) -> list[ConfigTable]:
        """Return the tables of an array, as [[key]] makes them. Errors: ConfigError."""
        values = self.get(key) or []
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self.error(key, f"tables, each under [[{key}]]", values)
        return [self._child(f"{key}[{i}]", value) for i, value in enumerate(values)]

    def _child(self, key: str, values: Mapping[str, Any]) -> ConfigTable:
        if key not in self._tables:
            self._tables[key] = ConfigTable(self.file, self.environ, values, f"{self._name}{key}.", key)
        return self._tables[key]
