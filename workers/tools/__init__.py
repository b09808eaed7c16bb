"""Tools: what a model may call, one module each.

A tool reads its arguments, prepares the call, and runs it with nothing but its ToolContext: the thread's folder, its
sandbox, its command sessions. Tools may import workers.sandbox, workers.workspace and workers.control, but neither the
agent nor the store. Every error of a tool is a ToolError, whose text the model reads.

SERVER_TOOLS of shared/protocol/dynamic_tools.py is the only table of tools: the API reads it too, so that no client
takes one of these names, and it imports no worker.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from shared.protocol.dynamic_tools import SERVER_TOOLS
from workers.tools.base import OfferedTool

TOOLS = {name: cast(OfferedTool, import_module(f"workers.tools.{name}")) for name in SERVER_TOOLS}
