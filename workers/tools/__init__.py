"""The tools that a model may call: one plain table."""

from __future__ import annotations

from workers.tools import apply_patch, exec_command, request_user_input, update_plan, view_image, write_stdin
from workers.tools.base import Tool

TOOLS: dict[str, Tool] = {
    tool.NAME: tool for tool in (exec_command, write_stdin, apply_patch, update_plan, view_image, request_user_input)
}
