"""What the commands of a thread may touch, and how much they may use, under the thread's settings."""

from __future__ import annotations

from pathlib import Path

from shared.config import Config
from shared.errors import ToolError
from shared.protocol.settings import ThreadSettings
from shared.store.users import LOCAL_USER
from workers.sandbox import names, thread_paths
from workers.sandbox.limits import CommandLimits
from workers.sandbox.policy import SandboxPolicy, is_git_protected, named_folders
from workers.workspace.folders import bounded, private_tmp, workspace_names
from workers.workspace.scope import server_folders
from workers.workspace.skills import visible_folders


class FolderMissing(ToolError):
    """The thread's working folder does not exist on this worker."""


def thread_sandbox(config: Config, owner: str, thread_id: str, settings: ThreadSettings) -> SandboxPolicy:
    """Return what a thread may touch. Errors: ToolError (FolderMissing: its folder does not exist)."""
    cwd, hosted, policy = Path(settings["cwd"]), owner != LOCAL_USER, settings["sandboxPolicy"]
    own, has_cwd, real = thread_paths.prepare_thread(
        config.server.workspaces_dir,
        workspace_names(owner, thread_id),
        cwd,
        named_folders(policy, cwd),
        server_folders(config),
        git=is_git_protected(policy, hosted=hosted),
    )
    if not has_cwd:
        raise FolderMissing(
            f"the working directory {cwd} does not exist on the worker; start the thread in one that does"
        )
    sandbox = SandboxPolicy.from_real_paths(
        policy, real, workspace=own if hosted else None, visible=visible_folders(config, owner)
    )
    if not names.is_text(sandbox.cwd):  # a link that a command has made may lead to it
        raise ToolError(f"the working directory {names.NO_TEXT}: {names.shown(sandbox.cwd)}")
    if hosted:
        root = sandbox.readable_roots[0] if sandbox.readable_roots else own
        sandbox = bounded(sandbox, config.limits, root.parent, root)
    return sandbox.with_private_tmp(private_tmp(own))


def command_limits(config: Config, owner: str) -> CommandLimits:
    """Return how much each command of an owner may use."""
    return CommandLimits(total_memory_bytes=config.limits.command_memory_bytes if owner != LOCAL_USER else 0)
