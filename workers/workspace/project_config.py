"""The configuration of a project: `.codex/config.toml` in the folders from its root down to the working folder.

For the local user the hooks of `.codex/hooks.json` belong to it; those of another user's repository are never read.

The files may be hostile: they are read by `workers.sandbox.files`. Whether they count is not decided here: the user has
to trust the project (api.requests.project_config).

Source: BEHAVIOUR-171 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ToolError
from shared.hook_files import HookFile, HookFileError, parse_json
from workers.sandbox import files

NAME = ".codex/config.toml"
HOOKS = ".codex/hooks.json"
MAX_BYTES = 256 * 1024  # of the files of a project together


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """What was found.

    root:     the nearest folder from the working folder up that is a repository, else the working folder
    layers:   folder → its keys of config.toml, as JSON; the root first
    warnings: for the user: files that cannot be used
    hooks:    folder → its hooks, or why they cannot be used; the root first
    """

    root: Path
    layers: Sequence[tuple[Path, Mapping[str, object]]]
    warnings: Sequence[str]
    hooks: Sequence[tuple[Path, HookFile | HookFileError]] = ()


def read(cwd: Path, root: Path, *, with_hooks: bool) -> ProjectConfig:
    """Return the configuration for work in a folder. root: nothing above this folder is read."""
    project = files.repository(cwd, root) or cwd
    layers: list[tuple[Path, Mapping[str, object]]] = []
    warnings: list[str] = []
    hooks: list[tuple[Path, HookFile | HookFileError]] = []
    for path, data, size in reversed(_read_files(cwd, root, with_hooks=with_hooks)):
        try:
            if len(data) < size:
                raise ValueError(f"the files of a project may have {MAX_BYTES} bytes")
            if path.name == Path(HOOKS).name:
                hooks.append((path.parent.parent, _read_hooks(path, data)))
                continue
            layers.append((path.parent.parent, _without_dates(tomllib.loads(data.decode()))))
        except (ValueError, RecursionError) as error:
            warnings.append(f"Ignored the project configuration `{path}`: {str(error)[:200]}")
    return ProjectConfig(project, layers, warnings, hooks)


def _read_files(cwd: Path, root: Path, *, with_hooks: bool) -> list[tuple[Path, bytes, int]]:
    """Return the files of a project, the nearest first. A tool runner of an earlier release reads only some of them."""
    if with_hooks:
        with suppress(ToolError):
            return files.read_each_nearest(root, cwd, (NAME, HOOKS), MAX_BYTES)
    with suppress(ToolError):
        return files.read_nearest(root, cwd, (NAME,), MAX_BYTES)
    return []


def _read_hooks(path: Path, data: bytes) -> HookFile | HookFileError:
    try:
        return parse_json(data or b"{}", str(path), "project")
    except HookFileError as error:
        return error


def _without_dates(table: Mapping[str, object]) -> dict[str, object]:
    """Return a table without values that JSON cannot express: no setting is a date, or has more than 64 bits.

    Errors: RecursionError
    """
    kept: dict[str, object] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            kept[name] = _without_dates(value)
        elif _is_json(value):
            kept[name] = value
        elif isinstance(value, list):
            kept[name] = [one for one in value if _is_json(one)]
    return kept


def _is_json(value: object) -> bool:
    return isinstance(value, str | bool | float) or (isinstance(value, int) and -(1 << 63) <= value < 1 << 64)
