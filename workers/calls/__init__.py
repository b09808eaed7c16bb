"""What workers do for a request that needs a workspace: one plain table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.config import Config
from workers.calls import command_exec, fs, fuzzy_file_search, git_diff, workspace_read
from workers.calls.running import RunningCall

# Method → what answers it. Errors: those of workers.tasks.run_call.
KINDS: dict[str, Callable[[Config, RunningCall, dict[str, Any]], Any]] = {
    "command/exec": command_exec.run,
    "fs/copy": fs.copy,
    "fs/createDirectory": fs.create_directory,
    "fs/getMetadata": fs.get_metadata,
    "fs/readDirectory": fs.read_directory,
    "fs/readFile": fs.read_file,
    "fs/remove": fs.remove,
    "fs/writeFile": fs.write_file,
    "fuzzyFileSearch": fuzzy_file_search.run,
    "gitDiffToRemote": git_diff.run,
    "thread/workspace/read": workspace_read.run,
}
