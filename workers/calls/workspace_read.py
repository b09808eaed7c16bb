"""thread/workspace/read: what became of a workspace, piece by piece: a diff against its start, a git bundle, a tar.

It is read in a sandbox that can write nothing and has no network; see workers.sources.scripts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.config import Config
from shared.errors import CallLost, InvalidRequest, ToolError
from workers import workspace
from workers.calls.area import area, server_folders
from workers.calls.command_exec import Output, hear
from workers.calls.running import RunningCall
from workers.sandbox import files
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.sandbox.process import Process
from workers.sources import scripts

READ_SECONDS = 600.0
SHELL_OUTPUT_BYTES = 1 << 17


def run(config: Config, call: RunningCall, params: dict[str, Any]) -> dict[str, Any]:
    """Takes:   {"thread_id", "format": "diff" | "bundle" | "tar", "start_tree"?, "base"?}
    Output:  {"stream": "stdout", "delta_base64"}
    Returns: {}
    Errors:  InvalidRequest (it cannot be read, or is too large); CallLost, when the worker shuts down
    """
    place = area(config, call.owner)
    thread_id = params["thread_id"]
    folder = workspace.workspace_for(place.own.parent, place.own.name, thread_id)
    start = place.own / f"{thread_id}.start"
    has_start = params["start_tree"] is not None and files.exists(place.own, start.name)
    if params["start_tree"] is not None and not has_start and params["format"] != "tar":
        raise InvalidRequest("what the workspace began with is gone; ask for format tar")
    git = workspace.git_info(folder, folder) if params["base"] else None
    policy = SandboxPolicy(
        kind="read-only",
        cwd=folder,
        readable_roots=(folder, start) if has_start else (folder,),
        hidden=server_folders(config),
    )
    output = Output(None, streamed=True)
    process = Process(
        ["/bin/sh", "-c", scripts.READ],
        cwd=folder,
        policy=policy,
        limits=CommandLimits(wall_seconds=READ_SECONDS, output_bytes=SHELL_OUTPUT_BYTES),
        stderr_apart=True,
        env={
            **scripts.ENVIRONMENT,
            "FORMAT": params["format"],
            "START": str(start) if has_start else "",
            "START_TREE": params["start_tree"] or scripts.EMPTY_TREE,
            "BASE": params["base"] or "",
            "HEAD_SHA": (git or {}).get("sha") or "",
        },
        on_bytes=output.take,
    )
    try:
        call.heard_by(lambda what, value: hear(process, what, value))
        output.pass_on(process, call)
    except BaseException:
        process.terminate("its output having nowhere to go")
        raise
    finally:
        process.wait()
    if call.draining:
        raise CallLost("the worker shut down meanwhile")
    if process.exit_code != 0:
        raise ToolError(_reason(process, folder))
    return {}


def _reason(process: Process, folder: Path) -> str:
    said = process.errors.text().replace(str(folder), ".").strip()[-300:]
    return f"the workspace cannot be read: {process.stopped_by or said or f'exit code {process.exit_code}'}"
