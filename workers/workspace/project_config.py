"""The configuration of a project: `.codex/config.toml` in the folders from its root down to the working folder.

The files may be hostile: they are read by `workers.sandbox.files`. Whether they count is not decided here: the user has
to trust the project (api.requests.project_config).

Source: BEHAVIOUR-171 1
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ToolError
from workers.sandbox import files

NAME = ".codex/config.toml"
MAX_BYTES = 256 * 1024  # of the files of a project together


@dataclass(frozen=True, slots=True)
class ProjectConfig:
    """What was found.

    root:     the nearest folder from the working folder up that is a repository, else the working folder
    layers:   folder → its keys of config.toml, as JSON; the root first
    warnings: for the user: files that cannot be used
    """

    root: Path
    layers: Sequence[tuple[Path, Mapping[str, object]]]
    warnings: Sequence[str]


def read(cwd: Path, root: Path) -> ProjectConfig:
    """Return the configuration for work in a folder. root: nothing above this folder is read."""
    project = files.repository(cwd, root) or cwd
    layers: list[tuple[Path, Mapping[str, object]]] = []
    warnings: list[str] = []
    try:
        found = files.read_nearest(root, cwd, (NAME,), MAX_BYTES)
    except ToolError:  # a tool runner of an earlier release
        found = []
    for path, data, size in reversed(found):
        try:
            if len(data) < size:
                raise ValueError(f"the files of a project may have {MAX_BYTES} bytes")
            layers.append((path.parent.parent, _without_dates(tomllib.loads(data.decode()))))
        except (ValueError, RecursionError) as error:
            warnings.append(f"Ignored the project configuration `{path}`: {str(error)[:200]}")
    return ProjectConfig(project, layers, warnings)


def _without_dates(table: Mapping[str, object]) -> dict[str, object]:
    """Return a table without values that JSON cannot express; no setting is a date. Errors: RecursionError."""
    kept: dict[str, object] = {}
    for name, value in table.items():
        if isinstance(value, dict):
            kept[name] = _without_dates(value)
        elif isinstance(value, str | bool | int | float):
            kept[name] = value
        elif isinstance(value, list):
            kept[name] = [one for one in value if isinstance(one, str | bool | int | float)]
    return kept
