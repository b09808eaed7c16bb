"""hooks/list: List the hooks that would run in threads of each folder that the client names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

from marshmallow import validate

from api.requests import settings
from api.requests.context import Context
from api.requests.examples import Example
from api.requests.hooks import hooks_of_server
from api.requests.instructions import find_instructions
from api.requests.params import MethodParams
from api.requests.project_config import project_hooks, trust_levels, untrusted_hooks
from shared.hook_files import listed, state_of
from shared.protocol.hooks import NAMES, WITHOUT_EFFECT, HookFileProblem, ListedHook
from shared.store.users import LOCAL_USER

NAME = "hooks/list"
SLOW = True
MAX_FOLDERS = 16
NOT_OF_REPOSITORIES = "On this server only the operator's hooks run; the hooks.json of a repository has no effect."


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """cwds: folders; they may be paths of the client's machine. Without any, the server's hooks alone are listed

    Errors: InvalidParams (too many folders)
    Source: BEHAVIOUR-171 9; docs/HOOKS.md
    """

    cwds: Annotated[list[str], validate.Length(0, MAX_FOLDERS)] = ()  # type: ignore[assignment]


class FolderHooks(TypedDict):
    """The hooks of one folder.

    warnings: what was left out of the hook files, or does nothing on this server
    errors:   hook files that cannot be used
    """

    cwd: str
    hooks: Sequence[ListedHook]
    warnings: Sequence[str]
    errors: Sequence[HookFileProblem]


@dataclass(frozen=True)
class Result:
    """data: one entry for each folder of `cwds`"""

    data: Sequence[FolderHooks]


EXAMPLE = Example(
    params={"cwds": ["/srv/project"]},
    result={
        "data": [
            {
                "cwd": "/srv/project",
                "hooks": [
                    {
                        "key": "/threadhouse/hooks.json:pre_tool_use:0:0",
                        "eventName": "preToolUse",
                        "handlerType": "command",
                        "command": "/usr/local/bin/check-call",
                        "async": False,
                        "matcher": "Bash",
                        "timeoutSec": 10,
                        "statusMessage": "checking",
                        "additionalContextLimit": None,
                        "sourcePath": "/threadhouse/hooks.json",
                        "source": "user",
                        "pluginId": None,
                        "environmentId": None,
                        "displayOrder": 0,
                        "enabled": True,
                        "isManaged": False,
                        "currentHash": "sha256:6ac2ae10bd6d1c8a9ea2e3e8a5a8cd5d7dbd5be10c8f0a4fb6bb1b5f6e9d8c7a",
                        "trustStatus": "untrusted",
                    }
                ],
                "warnings": [],
                "errors": [],
            }
        ]
    },
)


def handle(ctx: Context, params: Params) -> Result:
    own = ctx.store.user_configs.get(ctx.user_id)[0]
    levels = trust_levels(own.get("projects"), config={})
    return Result(data=[_of_folder(ctx, cwd, own, levels) for cwd in params.cwds or [settings.CODEX_HOME]])


def _of_folder(ctx: Context, cwd: str, own: Mapping[str, object], levels: Mapping[str, str]) -> FolderHooks:
    of_server = hooks_of_server(ctx)
    is_local = ctx.user_id == LOCAL_USER
    warnings, errors = [*of_server.warnings], list[HookFileProblem]()
    hooks = [*of_server.hooks]
    if is_local and cwd != settings.CODEX_HOME:
        chosen = settings.defaults(ctx.config, ctx.user_id, "")
        project = find_instructions(ctx, {**chosen, "cwd": cwd}, has_folder=True).project
        found = project_hooks(project, levels, cwd)
        hooks += found.hooks
        warnings += [*found.warnings, *untrusted_hooks(project, levels, cwd)]
        errors += found.errors
    elif not is_local:
        warnings.append(NOT_OF_REPOSITORIES)
    warnings += [
        f"{NAMES[hook['eventName']]} hooks do not run on this server ({hook['key']})"
        for hook in hooks
        if hook["eventName"] in WITHOUT_EFFECT
    ]
    return {
        "cwd": cwd,
        "hooks": listed(hooks, state_of(own), managed=not is_local),
        "warnings": warnings,
        "errors": errors,
    }
