"""The one reader of declared settings: checks each value against its declaration and builds the dataclass.

A section with settings that depend on each other, or with derived fields, has a classmethod
`from_settings(values, table)`; it gets the values that are set and returns the instance.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from shared.config.setting import Declaration, Kind, Setting, declarations
from shared.config.table import ConfigTable

T = TypeVar("T")
Values = dict[str, Any]  # field → value, of those settings that are set; a field's type is in its dataclass

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def read(section: type[T], table: ConfigTable) -> T:
    """Return the settings of a section. Errors: ConfigError, naming file, key, expectation and what was found."""
    values = read_values(section, table)
    build: Callable[[Values, ConfigTable], T] | None = getattr(section, "from_settings", None)
    return build(values, table) if build else section(**values)


def read_values(section: type[Any], table: ConfigTable, without: Collection[str] = ()) -> Values:
    """Return the values of those settings of a section that are set. Errors: ConfigError.

    without: fields that have no meaning in this table; their keys are unknown keys there
    """
    values: Values = {}
    for declared in declarations(section):
        if declared.field in without:
            continue
        value = _environment_value(declared, table) if declared.setting.env else _file_value(declared, table)
        if value is not None:
            values[declared.field] = value
        elif declared.setting.below_home:
            values[declared.field] = table.home / declared.setting.below_home
        elif declared.setting.required or (declared.default is dataclasses.MISSING and not declared.setting.default):
            raise table.error(declared.key, declared.setting.expected or WORDS[declared.kind], None)
    return values


def _environment_value(declared: Declaration, table: ConfigTable) -> object:
    setting = declared.setting
    text = table.environ.get(setting.env)
    if not text:
        return None
    if declared.kind == "path":
        return Path(text)
    variables = ConfigTable(Path("environment"), table.environ, {})  # as errors name it
    return READERS[declared.kind](variables, setting.env, _parsed(declared.kind, text), setting)


def _parsed(kind: Kind, text: str) -> object:
    """Return the text of an environment variable as config.toml would have it; the text itself when it is wrong."""
    try:
        match kind:
            case "flag":
                return {"true": True, "false": False}[text.lower()]
            case "integer":
                return int(text)
            case "number":
                return float(text)
    except (KeyError, ValueError):
        pass
    return text


def _file_value(declared: Declaration, table: ConfigTable) -> object:
    key, section = declared.key, declared.section
    if declared.setting.read is not None:
        return declared.setting.read(table, key)
    if section is not None:
        if declared.kind == "sections":
            return {name: read(section, inner) for name, inner in table.tables(key).items()}
        if declared.kind == "array":
            return tuple(read(section, inner) for inner in table.array(key))
        is_left_out = declared.default is None and not table.has(key)
        return None if is_left_out else read(section, table.table(key))
    value = table.get(key)
    return None if value is None else READERS[declared.kind](table, key, value, declared.setting)


def _flag(table: ConfigTable, key: str, value: object, setting: Setting) -> bool:
    if not isinstance(value, bool):
        raise table.error(key, WORDS["flag"], value)
    return value


def _integer(table: ConfigTable, key: str, value: object, setting: Setting) -> int:
    if type(value) is not int or value < setting.minimum or (setting.maximum is not None and value > setting.maximum):
        if setting.maximum is None:
            raise table.error(key, f"an integer of {setting.minimum} or more", value)
        raise table.error(key, f"an integer from {setting.minimum} to {setting.maximum}", value)
    return value


def _number(table: ConfigTable, key: str, value: object, setting: Setting) -> float:
    maximum = sys.float_info.max if setting.maximum is None else setting.maximum
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= maximum:
        bound = "" if setting.maximum is None else f" and at most {setting.maximum}"
        raise table.error(key, f"a number of {_unit(setting)} above 0{bound}", value)
    return float(value)


def _text(table: ConfigTable, key: str, value: object, setting: Setting) -> str:
    if setting.choices:
        if value not in setting.choices:
            raise table.error(key, f"one of {', '.join(setting.choices)}", value, show=True)
        return str(value)
    if not isinstance(value, str) or not value:
        raise table.error(key, setting.expected or WORDS["text"], value)
    text = _expanded(table, key, value) if setting.expands else value
    if setting.matches is not None and not setting.matches(text):
        raise table.error(key, setting.expected, text)
    return text


def _path(table: ConfigTable, key: str, value: object, setting: Setting) -> Path:
    path = table.home / Path(_text(table, key, value, setting)).expanduser()
    if setting.exists and not path.is_file():
        raise table.error(key, "a file that exists", str(path), show=True)
    return path


def _texts(table: ConfigTable, key: str, value: object, setting: Setting) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise table.error(key, WORDS["texts"], value)
    if setting.choices and (not value or not set(value) <= set(setting.choices)):
        raise table.error(key, f"a list of one or more of {', '.join(setting.choices)}", value)
    if not setting.absolute:
        return tuple(value)
    paths = tuple(str(Path(text).expanduser()) for text in value)
    for path in paths:
        if not Path(path).is_absolute():
            raise table.error(key, "a list of absolute paths", path, show=True)
    return paths


def _numbers(table: ConfigTable, key: str, value: object, setting: Setting) -> tuple[float, ...]:
    if not isinstance(value, list) or not all(
        type(one) in (int, float) and 0 < one <= sys.float_info.max for one in value
    ):
        raise table.error(key, f"a list of numbers of {_unit(setting)} above 0", value)
    return tuple(map(float, value))


def _unit(setting: Setting) -> str:
    return {"s": "seconds", "ms": "milliseconds"}.get(setting.unit, setting.unit)


def _mapping(table: ConfigTable, key: str, value: object, setting: Setting) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise table.error(key, WORDS["mapping"], value)
    return {name: _expanded(table, f"{key}.{name}", text) for name, text in value.items()} if setting.expands else value


def _expanded(table: ConfigTable, key: str, text: str) -> str:
    """Return a text with each ${NAME} from the environment. Errors never quote a value: it may be a secret."""

    def value_of(found: re.Match[str]) -> str:
        value = table.environ.get(found[1])
        if not value:
            raise table.error(key, f"the environment variable {found[1]} to be set", None)
        return value

    return _VARIABLE.sub(value_of, text)


# What an error expects of a value of this kind, when nothing more is known.
WORDS: Mapping[Kind, str] = {
    "flag": "true or false",
    "integer": "an integer",
    "number": "a number above 0",
    "text": "a string",
    "path": "a string",
    "texts": "a list of strings",
    "numbers": "a list of numbers above 0",
    "mapping": "a table of strings",
    "section": "a table",
    "sections": "a table of tables",
    "array": "tables",
}
READERS: Mapping[Kind, Callable[[ConfigTable, str, object, Setting], object]] = {
    "flag": _flag,
    "integer": _integer,
    "number": _number,
    "text": _text,
    "path": _path,
    "texts": _texts,
    "numbers": _numbers,
    "mapping": _mapping,
}
