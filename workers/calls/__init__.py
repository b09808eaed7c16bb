"""Worker calls: requests that need a workspace, which the API sends to a worker. One plain table.

A handler has the configuration, its call (workers.calls.running) and the params. It may use workers.sandbox,
workers.workspace, workers.sources and workers.mcp, but neither the store nor the agent; those of MCP_HANDLERS may use
the store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from shared.config import Config
from workers.calls import (
    command_exec,
    fs,
    fuzzy_file_search,
    git_diff,
    instructions,
    mcp,
    mcp_login,
    skills,
    workspace_read,
)
from workers.calls.running import RunningCall

# Method, or a kind of call that belongs to several → its handler, whose params are a TypedDict of its own.
# Errors: those that workers.tasks.run_call passes on.
HANDLERS: dict[str, Callable[[Config, RunningCall, Any], Mapping[str, object]]] = {
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
    "instructions": instructions.run,
    "skills/install": skills.install,
    "skills/list": skills.list_skills,
    "skills/uninstall": skills.uninstall,
    "thread/workspace/read": workspace_read.run,
}

# Calls about MCP servers, whose handlers need the sessions of this process, and the thread that these belong to.
MCP_HANDLERS: dict[str, Callable[[mcp.McpAccess, RunningCall, Any], Mapping[str, object]]] = {
    "mcpServer/oauth/login": mcp_login.run,
    "mcpServer/oauth/logout": mcp_login.find_address,
    "mcpServer/resource/read": mcp.read_resource,
    "mcpServer/tool/call": mcp.call_tool,
    "mcpServerStatus/list": mcp.list_servers,
}
