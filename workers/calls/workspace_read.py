"""thread/workspace/read: send what became of a workspace: a diff against its start, a git bundle, or a tar.

It is read in a sandbox that can write nothing and has no network; see workers.sources.scripts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict

from shared.config import Config
from shared.errors import InvalidRequest, ToolError
from shared.protocol.sandbox_modes import READ_ONLY
from workers.calls import client_command
from workers.calls.client_command import SHELL_OUTPUT_BYTES, ClientOutput
from workers.calls.running import RunningCall
from workers.sandbox import files
from workers.sandbox.command_spec import CommandSpec
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process
from workers.sources import scripts
from workers.workspace import folders
from workers.workspace.scope import server_folders, workspace_scope

READ_SECONDS = 600.0


class Params(TypedDict):
    """What to read.

    start_tree: git tree of the files at the start; None: the workspace began empty
    base:       commit that was checked out at the start; None: there was none
    """

    thread_id: str
    format: Literal["diff", "bundle", "tar"]
    start_tree: str | None
    base: str | None


def run(config: Config, call: RunningCall, params: Params) -> Mapping[str, object]:
    """Send the workspace in pieces. The result is empty.

    Output:  {"stream": "stdout", "delta_base64"}
    Errors:  InvalidRequest (it cannot be read, or is too large); CallLost when the worker shuts down
    """
    scope = workspace_scope(config, call.owner)
    thread_id = params["thread_id"]
    folder = folders.workspace_for(scope.own.parent, scope.own.name, thread_id)
    start = scope.own / f"{thread_id}.start"
    has_start = params["start_tree"] is not None and files.exists(scope.own, start.name)
    if params["start_tree"] is not None and not has_start and params["format"] != "tar":
        raise InvalidRequest("the files that the workspace began with are gone; ask for format tar")
    git = folders.git_info(folder, folder) if params["base"] else None
    spec = CommandSpec(
        argv=["/bin/sh", "-c", scripts.READ],
        cwd=folder,
        policy=SandboxPolicy(
            kind=READ_ONLY,
            cwd=folder,
            readable_roots=(folder, start) if has_start else (folder,),
            hidden=server_folders(config),
        ),
        limits=CommandLimits(wall_seconds=READ_SECONDS, output_bytes=SHELL_OUTPUT_BYTES),
        separate_stderr=True,
        env={
            **scripts.ENVIRONMENT,
            "FORMAT": params["format"],
            "START": str(start) if has_start else "",
            "START_TREE": params["start_tree"] or scripts.EMPTY_TREE,
            "BASE": params["base"] or "",
            "HEAD_SHA": (git["sha"] if git else None) or "",
        },
    )
    process = client_command.run(spec, call, ClientOutput(None, streamed=True))
    if process.exit_code != 0:
        raise ToolError(_reason(process, folder))
    return {}


def _reason(process: Process, folder: Path) -> str:
    stderr = process.stderr.text().replace(str(folder), ".").strip()[-300:]
    return f"the workspace cannot be read: {process.stopped_by or stderr or f'exit code {process.exit_code}'}"
