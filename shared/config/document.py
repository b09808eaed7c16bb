"""`python -m shared.config.document > docs/SETTINGS.md`: every setting as it is declared."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from shared.config import Config
from shared.config.setting import Declaration, declarations

HEAD = """# Settings

Every setting of this server. This page is generated: `python -m shared.config.document > docs/SETTINGS.md`.

Settings stand in `HOME/config.toml`, where HOME is `THREADHOUSE_HOME`; those with a name in capitals are environment
variables. A relative path starts at HOME. A wrong value stops the start with an error that names file, key and
expectation; an unknown key is ignored with a warning. Processes read settings when they start.

*Set by*: `config.toml` or the environment; "users limits": the command `threadhouse users limits` sets another
value for one user; "clients": clients set another value for their user (`config/value/write`) or for one thread.
"""
TABLE = """
| setting | type | default | unit | range | set by | description |
|---|---|---|---|---|---|---|
"""
TYPES = {
    "flag": "boolean",
    "integer": "integer",
    "number": "number",
    "text": "string",
    "path": "path",
    "texts": "list of strings",
    "numbers": "list of numbers",
    "mapping": "table of strings",
    "section": "table",
    "sections": "tables",
    "array": "tables",
}


def document() -> str:
    """Return the page as Markdown."""
    found = declarations(Config)
    environment = [one for one in found if one.setting.env]
    others = [one for one in found if not one.setting.env]
    page = HEAD + "\n## Environment\n" + _table(environment) + "\n## Top level\n" + _table(others)
    return page + "".join(_sections(Config, ""))


def _sections(section: type[Any], path: str) -> Iterator[str]:
    """Return a heading and a table for each section below one, depth first. Keys of the same dataclass share them."""
    below: dict[type[Any], list[Declaration]] = {}
    for declared in declarations(section):
        if declared.section is not None:
            below.setdefault(declared.section, []).append(declared)
    for nested, declared_as in below.items():
        names = [f"{path}{one.key}{'.NAME' if one.kind == 'sections' else ''}" for one in declared_as]
        heading = ", ".join(f"`[[{name}]]`" if declared_as[0].kind == "array" else f"`[{name}]`" for name in names)
        left_out = declared_as[0].setting.default if declared_as[0].setting.read is None else ""
        about = (nested.__doc__ or "").strip().partition("\n")[0] + (f" Without it: {left_out}." if left_out else "")
        yield f"\n## {heading}\n\n{about}\n{_table(list(declarations(nested)))}"
        yield from _sections(nested, f"{names[0]}.")


def _table(settings: list[Declaration]) -> str:
    shown = [one for one in settings if one.section is None or one.setting.read is not None]
    return TABLE + "".join(f"| {' | '.join(_cells(one))} |\n" for one in shown)


def _cells(declared: Declaration) -> list[str]:
    setting = declared.setting
    set_by = ["environment" if setting.env else "config.toml"]
    set_by += ["users limits"] if setting.per_user else []
    set_by += ["clients"] if setting.by_clients else []
    return [
        f"`{setting.env or declared.key}`",
        TYPES[declared.kind],
        _default(declared),
        setting.unit,
        _range(declared),
        ", ".join(set_by),
        setting.description,
    ]


def _default(declared: Declaration) -> str:
    setting, value = declared.setting, declared.default
    if setting.default or setting.below_home:
        return setting.default or f"HOME/{setting.below_home}"
    if setting.required or value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"`[{', '.join(_toml(one) for one in value)}]`"
    return f"`{_toml(value)}`{_binary(value)}"


def _binary(value: object) -> str:
    """Return a number of bytes in GiB or MiB when it is a whole one, such as " (4 GiB)"."""
    for name, size in (("GiB", 1 << 30), ("MiB", 1 << 20)):
        if type(value) is int and value >= size and value % size == 0:
            return f" ({value // size} {name})"
    return ""


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def _range(declared: Declaration) -> str:
    setting = declared.setting
    if setting.choices:
        return ", ".join(f"`{choice}`" for choice in setting.choices)
    if declared.kind in ("number", "numbers") and setting.read is None:
        return "> 0" if setting.maximum is None else f"> 0, at most {setting.maximum}"
    if declared.kind == "integer":
        return f"≥ {setting.minimum}" if setting.maximum is None else f"{setting.minimum} to {setting.maximum}"
    return ""


if __name__ == "__main__":
    sys.stdout.write(document())
