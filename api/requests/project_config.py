"""Which keys of a project's `.codex/config.toml` count for a thread: those of folders that the user trusts.

A file of a project was written by whoever wrote the project, so it may set what the user may set, and neither where the
user's texts go nor who answers approval requests.

Source: BEHAVIOUR-171 1
"""

from __future__ import annotations

import os.path
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.requests.settings import CONFIG_OF_OPERATOR, MCP_SERVERS, user_defaults
from shared.config import Config
from shared.errors import InvalidParams
from shared.key_paths import split_key_path
from shared.protocol.hooks import Hook, HookFileProblem
from shared.protocol.settings import SettingsChanges

NOT_OF_PROJECTS = ("model_provider", "approvals_reviewer", MCP_SERVERS)


@dataclass(frozen=True, slots=True)
class Project:
    """A project's configuration as a worker found it.

    cwd, root: the real paths of the working folder and of the project
    layers:    folder → its keys, the root's first
    errors:    what the user must know of files that cannot be used
    hooks:     its hooks, as the worker call `instructions` returns them
    """

    cwd: str
    root: str
    layers: Sequence[tuple[str, Mapping[str, object]]]
    errors: Sequence[str]
    hooks: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, result: Mapping[str, object]) -> Project | None:
        """Return the project in the result of the worker call `instructions`."""
        cwd, root, layers, errors = (result.get(name) for name in ("cwd", "root", "layers", "layerErrors"))
        if not isinstance(cwd, str) or not isinstance(root, str):
            return None
        assert isinstance(layers, list)
        assert isinstance(errors, list)
        hooks = result.get("hooks", [])  # absent: a worker of an earlier release
        assert isinstance(hooks, list)
        return cls(cwd, root, [(layer["folder"], layer["config"]) for layer in layers], errors, hooks)


@dataclass(frozen=True, slots=True)
class ProjectHooks:
    """The hooks of a project that its user trusts. warnings, errors: what the user must know of its files"""

    hooks: Sequence[Hook]
    warnings: Sequence[str]
    errors: Sequence[HookFileProblem]


def trust_levels(*tables: object, config: Mapping[str, object]) -> dict[str, str]:
    """Return the trust levels of folders by their normal paths. The later tables win, and then those of `config`.

    tables: values of the key `projects`
    config: of a request; it may have the key `projects`, and keys such as `projects."/a.b".trust_level`
    """
    levels: dict[str, str] = {}
    for table in (*tables, config.get("projects")):
        if isinstance(table, dict):
            for path, project in table.items():
                levels |= _level(path, project.get("trust_level") if isinstance(project, dict) else None)
    for key, value in config.items():
        if key.startswith("projects."):
            try:
                _, *path, name = split_key_path(key)
            except InvalidParams:
                continue
            levels |= _level(".".join(path), value if name == "trust_level" else None)
    return levels


def project_defaults(
    config: Config, owner: str, project: Project | None, levels: Mapping[str, str], cwd: str | None
) -> SettingsChanges:
    """Return what the trusted layers of a project change of a thread's settings, the nearest last.

    What this server does not allow is left out.

    cwd: the folder as the client names it, maybe through a link
    """
    changed: SettingsChanges = {}
    for folder, layer in project.layers if project else ():
        if project and _is_trusted(project, folder, levels, cwd):
            changed |= user_defaults(config, owner, dict(_allowed(layer)))
    return changed


def project_warnings(project: Project | None, levels: Mapping[str, str], cwd: str | None) -> list[str]:
    """Return what the user must know of the configuration of a project that they trust: what does not count of it."""
    if project is None:
        return []
    warnings = [*project.errors] if _is_trusted(project, project.cwd, levels, cwd) else []
    for folder, layer in project.layers:
        ignored = sorted(key for key in layer if key in {*NOT_OF_PROJECTS, *CONFIG_OF_OPERATOR})
        if ignored and _is_trusted(project, folder, levels, cwd):
            warnings.append(
                f"Ignored unsupported project-local config keys in {folder}/.codex/config.toml: "
                f"{', '.join(ignored)[:500]}. A project does not set them."
            )
    return warnings


def project_hooks(project: Project | None, levels: Mapping[str, str], cwd: str | None) -> ProjectHooks:
    """Return the hooks of those folders of a project that the user trusts, the root's first. Each needs trust too."""
    hooks: list[Hook] = []
    warnings: list[str] = []
    errors: list[HookFileProblem] = []
    for found in project.hooks if project else ():
        assert project is not None
        if _is_trusted(project, found["folder"], levels, cwd):
            hooks += found["hooks"]
            warnings += found["warnings"]
            errors += found["errors"]
    return ProjectHooks(hooks, warnings, errors)


def untrusted_hooks(project: Project | None, levels: Mapping[str, str], cwd: str | None) -> list[str]:
    """Return a sentence for each hooks.json of a folder that the user does not trust."""
    return [
        f"The hooks in {found['folder']}/.codex/hooks.json do not run: the user does not trust this project (set "
        f'projects."{found["folder"]}".trust_level to trusted).'
        for found in (project.hooks if project else ())
        if project and not _is_trusted(project, found["folder"], levels, cwd)
    ]


def _is_trusted(project: Project, folder: str, levels: Mapping[str, str], cwd: str | None) -> bool:
    """Return whether a folder of a project is trusted: the level of the folder itself wins over that of the root."""
    own = levels.get(folder)
    if own is None and cwd is not None and folder == project.cwd:
        own = levels.get(os.path.normpath(cwd))
    return (own or levels.get(project.root)) == "trusted"


def _allowed(layer: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    return ((key, value) for key, value in layer.items() if key not in NOT_OF_PROJECTS)


def _level(path: str, level: object) -> dict[str, str]:
    return {os.path.normpath(path): level} if level in ("trusted", "untrusted") and isinstance(level, str) else {}
