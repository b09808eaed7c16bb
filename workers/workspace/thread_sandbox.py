"""What the commands of a thread may touch, and how much they may use, under the thread's settings."""

from __future__ import annotations

from pathlib import Path

from shared.config import Config
from shared.errors import ToolError
from shared.protocol.settings import ThreadSettings
from shared.store.users import LOCAL_USER
from workers.sandbox import files, names
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy
from workers.workspace.folders import bounded, private_tmp, workspace_for
from workers.workspace.scope import server_folders
from workers.workspace.skills import visible_folders


class FolderMissing(ToolError):
    """The thread's working folder does not exist on this worker."""


def thread_sandbox(config: Config, owner: str, thread_id: str, settings: ThreadSettings) -> SandboxPolicy:
    """Return what a thread may touch. Errors: ToolError (FolderMissing: its folder does not exist)."""
    cwd, hosted = Path(settings["cwd"]), owner != LOCAL_USER
    own = workspace_for(config.server.workspaces_dir, owner, thread_id)
    if not files.is_folder(cwd):
        raise FolderMissing(
            f"the working directory {cwd} does not exist on the worker; start the thread in one that does"
        )
    sandbox = SandboxPolicy.from_wire(
        settings["sandboxPolicy"],
        cwd,
        hidden=server_folders(config),
        workspace=own if hosted else None,
        visible=visible_folders(config, owner),
    )
    if not names.is_text(sandbox.cwd):  # a link that a command has made may lead to it
        raise ToolError(f"the working directory {names.NO_TEXT}: {names.shown(sandbox.cwd)}")
    if hosted:
        real = sandbox.readable_roots[0] if sandbox.readable_roots else own
        sandbox = bounded(sandbox, config.limits, real.parent, real)
    return sandbox.with_private_tmp(private_tmp(own))


def command_limits(config: Config, owner: str) -> CommandLimits:
    """Return how much each command of an owner may use."""
    return CommandLimits(total_memory_bytes=config.limits.command_memory_bytes if owner != LOCAL_USER else 0)
