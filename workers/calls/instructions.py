"""The instruction files and the project configuration of a folder, for a thread that works there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from shared.config import Config
from shared.errors import Unavailable
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


class Result(TypedDict):
    """What was found.

    sources:     paths of the files that a model gets
    warnings:    what the user must know of the others
    cwd, root:   the real path of the folder, and that of its project; None: the folder does not exist yet
    layers:      the project's configuration, the root's first
    layerErrors: what the user must know of it if they trust the project
    """

    sources: Sequence[str]
    warnings: Sequence[str]
    cwd: str | None
    root: str | None
    layers: Sequence[ProjectLayer]
    layerErrors: Sequence[str]


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
        project = project_config.read(cwd, root)
    if found is None:
        raise Unavailable("this tool runner cannot look for instructions yet; restart it")
    return {
        "sources": [str(path) for path in found.sources],
        "warnings": found.warnings,
        "cwd": str(cwd) if project else None,
        "root": str(project.root) if project else None,
        "layers": [{"folder": str(folder), "config": values} for folder, values in project.layers] if project else [],
        "layerErrors": project.warnings if project else [],
    }
