"""The instruction files and the project configuration of a folder, for a thread that works there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from shared.config import Config
from shared.errors import Unavailable
from shared.hook_files import HookFile, HookFileError
from shared.protocol.hooks import Hook, HookFileProblem
from shared.protocol.settings import ThreadSettings
from workers.calls.running import RunningCall
from workers.workspace import instructions, project_config
from workers.workspace.scope import workspace_scope


class Params(TypedDict):
    """Where to look.

    cwd:      absolute path; None: the folder does not exist yet, so only the server's home has instructions
    settings: the thread's own values of projectDocMaxBytes and projectDocFallbackFilenames
    """

    cwd: str | None
    settings: ThreadSettings


class ProjectLayer(TypedDict):
    """A `.codex/config.toml`. folder: whose it is; config: its keys"""

    folder: str
    config: Mapping[str, object]


class ProjectHooks(TypedDict):
    """A `.codex/hooks.json`. folder: whose it is; warnings, errors: what the user must know of it"""

    folder: str
    hooks: Sequence[Hook]
    warnings: Sequence[str]
    errors: Sequence[HookFileProblem]


class Result(TypedDict):
    """What was found.

    sources:     paths of the files that a model gets
    warnings:    what the user must know of the others
    cwd, root:   the real path of the folder, and that of its project; None: the folder does not exist yet
    layers:      the project's configuration, the root's first
    layerErrors: what the user must know of it if they trust the project
    hooks:       the hooks of the project, the root's first; of the local user's alone
    """

    sources: Sequence[str]
    warnings: Sequence[str]
    cwd: str | None
    root: str | None
    layers: Sequence[ProjectLayer]
    layerErrors: Sequence[str]
    hooks: Sequence[ProjectHooks]


def run(config: Config, call: RunningCall, params: Params) -> Result:
    """Return what is found. Errors: InvalidRequest (the folder), Unavailable (an earlier release's tool runner)."""
    project = None
    if params["cwd"] is None:
        found = instructions.read_home(config.home)
    else:
        scope = workspace_scope(config, call.owner)
        cwd = scope.cwd(params["cwd"])
        root = Path("/")
        if scope.hosted:
            root = scope.own.joinpath(*cwd.relative_to(scope.own).parts[:1])
        limits = instructions.Limits.of(config, params["settings"])
        found = instructions.read(config.home, cwd, root, limits)
        project = project_config.read(cwd, root, with_hooks=not scope.hosted)
    if found is None:
        raise Unavailable("this tool runner cannot look for instructions yet; restart it")
    return {
        "sources": [str(path) for path in found.sources],
        "warnings": found.warnings,
        "cwd": str(cwd) if project else None,
        "root": str(project.root) if project else None,
        "layers": [{"folder": str(folder), "config": values} for folder, values in project.layers] if project else [],
        "layerErrors": project.warnings if project else [],
        "hooks": [_hooks(folder, found_hooks) for folder, found_hooks in project.hooks] if project else [],
    }


def _hooks(folder: Path, found: HookFile | HookFileError) -> ProjectHooks:
    if isinstance(found, HookFileError):
        problem: HookFileProblem = {"message": str(found), "path": str(folder / project_config.HOOKS)}
        return {"folder": str(folder), "hooks": [], "warnings": [], "errors": [problem]}
    return {"folder": str(folder), "hooks": found.hooks, "warnings": found.warnings, "errors": []}
