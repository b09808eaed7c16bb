"""How a setting is declared: as one annotated field of a frozen dataclass, which stands for a table of config.toml.

    port: Annotated[int, Setting("Port that the API listens on.", minimum=1, maximum=65_535)] = 8765

The field gives name, type and default, its Setting the rest: a new setting is this one field. shared.config.reader
reads every declared setting and shared.config.document lists it in docs/SETTINGS.md. A field without a Setting is
derived from others by the dataclass's `from_settings`.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from shared.config.table import ConfigTable

Kind = Literal[
    "flag", "integer", "number", "text", "path", "texts", "numbers", "mapping", "section", "sections", "array"
]
KINDS: Mapping[object, Kind] = {
    bool: "flag",
    int: "integer",
    float: "number",
    str: "text",
    Path: "path",
    tuple[str, ...]: "texts",
    tuple[float, ...]: "numbers",
    Mapping[str, str]: "mapping",
}


@dataclass(frozen=True)
class Setting:
    """What a field's type and default do not say.

    description: one sentence for operators, with a full stop
    unit:        of a number: "s", "ms", "bytes", "tokens"
    minimum, maximum: of an integer, inclusive; numbers are above 0, and have a maximum, too
    choices:     the strings that are allowed
    matches:     returns something true for a string that is allowed; `expected` describes these
    expected:    the value that an error asks for, when the words for its type do not say enough
    default:     the default in words, when it depends on other settings
    below_home:  of a path: the default, relative to HOME
    key:         the key in config.toml, when it is not the field's name
    env:         the environment variable that holds the value instead of config.toml
    required:    a value must be set although the field has a default
    expands:     ${NAME} in the value is replaced by the environment variable NAME
    absolute:    of a list of paths: each must be absolute
    exists:      of a path: the file must exist
    per_user:    `threadhouse users limits` sets another value for one user
    by_clients:  clients set another value for their user (config/value/write) or for a thread
    read:        reads the value instead of the generic reader: (table, key) → value
    """

    description: str
    unit: str = ""
    minimum: int = 0
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    matches: Callable[[str], object] | None = None
    expected: str = ""
    default: str = ""
    below_home: str = ""
    key: str = ""
    env: str = ""
    required: bool = False
    expands: bool = False
    absolute: bool = False
    exists: bool = False
    per_user: bool = False
    by_clients: bool = False
    read: Callable[[ConfigTable, str], object] | None = None


@dataclass(frozen=True)
class Declaration:
    """One declared setting of a dataclass.

    field:   the field's name; key: the key in config.toml
    kind:    of its value; "section": a table, "sections": named tables, "array": an array of tables
    section: the dataclass of a nested table, of each of several named tables, or of each table of an array
    default: the field's default; dataclasses.MISSING without one
    """

    field: str
    key: str
    kind: Kind
    section: type[Any] | None
    default: object
    setting: Setting


def declarations(section: type) -> tuple[Declaration, ...]:
    """Return the settings that a dataclass declares, in the order of its fields."""
    return _declarations(section)


@cache  # each of a thread's MCP servers is read by them
def _declarations(section: type) -> tuple[Declaration, ...]:
    hints = get_type_hints(section, include_extras=True)
    found = []
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        if get_origin(hint) is Annotated:
            declared, setting = get_args(hint)
            kind, nested = _kind(declared)
            default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
            found.append(Declaration(field.name, setting.key or field.name, kind, nested, default, setting))
    return tuple(found)


def _kind(declared: Any) -> tuple[Kind, type[Any] | None]:
    if get_origin(declared) in (Union, types.UnionType):
        [declared] = [part for part in get_args(declared) if part is not types.NoneType]
    if declared in KINDS:
        return KINDS[declared], None
    if isinstance(declared, type):
        return "section", declared
    nested = next(part for part in get_args(declared) if dataclasses.is_dataclass(part) and isinstance(part, type))
    return "sections" if get_origin(declared) is not tuple else "array", nested
