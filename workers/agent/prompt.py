"""Builds the model's input from the log (PROTOCOL section 11): instructions, tools, and the context of the workspace.

Reads instruction files and the environment of the thread's folder; stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import cast

from shared.config import Config
from shared.protocol.model_items import ModelItem, OfferedTool, text_message
from shared.protocol.settings import ThreadSettings
from shared.protocol.turn import TurnOptions
from shared.protocol.web_search import CALL
from shared.store.items import Item
from workers.agent import web_search
from workers.models.chunks import Prompt
from workers.tools import TOOLS, dynamic_tool, request_user_input
from workers.tools.base import ToolContext
from workers.workspace.folders import environment_context
from workers.workspace.instructions import HEADING, Instructions

BASE_INSTRUCTIONS = resources.files("workers.agent").joinpath("instructions.md").read_text()
PLAN_INSTRUCTIONS = resources.files("workers.agent").joinpath("plan_mode.md").read_text()
REVIEW_INSTRUCTIONS = resources.files("workers.agent").joinpath("review_mode.md").read_text()
OPTIONAL = (request_user_input.NAME, "web_search")  # tools that not every thread has
ENVIRONMENT_OPENING = "<environment_context>"
VOLATILE = "<current_date>"  # a line of the environment that changes by itself


def build(
    config: Config,
    settings: ThreadSettings,
    rows: Sequence[Item],
    thread_id: str,
    turn_id: str,
    options: TurnOptions,
    of_mcp: Sequence[OfferedTool] = (),
) -> Prompt:
    """Return one request to the model.

    rows:   the log since the last compaction, no call without its output
    of_mcp: the tools of the thread's MCP servers
    """
    instructions = (
        settings.get("baseInstructions") or BASE_INSTRUCTIONS,
        config.developer_instructions,
        settings.get("developerInstructions"),
        mode_instructions(settings),
    )
    head = [text_message("developer", text) for text in instructions if text]
    history = [item for row in rows for item in row.model_items]
    tools = offered_tools(config, settings, of_mcp)
    if any(row.kind == "webSearch" for row in rows) and not web_search.searches_itself(config, settings):
        history = [item for item in history if item["type"] != CALL]  # no provider but the one that made it knows it
    return Prompt(
        model=settings["model"],
        input=[*head, *cast(list[ModelItem], history)],
        tools=tools,
        thread_id=thread_id,
        turn_id=turn_id,
        effort=settings.get("effort"),
        summary=settings.get("summary"),
        output_schema=options.get("outputSchema"),
    )


def offered_tools(config: Config, settings: ThreadSettings, of_mcp: Sequence[OfferedTool] = ()) -> list[OfferedTool]:
    """Return the tools that a thread's model may call: the server's, those of MCP servers, then the client's."""
    planning = is_planning(settings)
    names = [name for name in TOOLS if name not in OPTIONAL or (name == request_user_input.NAME and planning)]
    own = [*(TOOLS[name].SPEC for name in names), *web_search.offered(config, settings)]
    return [*own, *of_mcp, *dynamic_tool.specs(settings.get("dynamicTools") or ())]


def mode_instructions(settings: ThreadSettings) -> str | None:
    """Return the instructions of the collaboration mode: the client's own, else the server's for plan mode."""
    mode = settings.get("collaborationMode")
    own = mode["settings"].get("developer_instructions") if mode and mode.get("settings") else None
    return own or (PLAN_INSTRUCTIONS if is_planning(settings) else None)


def is_planning(settings: ThreadSettings) -> bool:
    """Return whether the thread is in plan mode."""
    mode = settings.get("collaborationMode")
    return mode is not None and mode.get("mode") == "plan"


def missing_context(
    rows: Sequence[Item], ctx: ToolContext, approval_policy: str, found: Instructions | None
) -> list[str]:
    """Return what the model must read before it goes on: the instructions and where it works, each if it is new.

    found: the instructions in force; None: they were not looked for
    Each becomes a message of its own, never part of a user's message.
    """
    texts = [
        part["text"]
        for row in rows
        if row.kind == "context"
        for item in row.model_items
        for part in item["content"]
        if "text" in part
    ]
    environment = environment_context(ctx.cwd, ctx.sandbox, approval_policy, datetime.now().astimezone())
    new = []
    if found is not None and (text := found.to_add(_last(texts, HEADING))) is not None:
        new.append(text)
    if _stable(_last(texts, ENVIRONMENT_OPENING) or "") != _stable(environment):
        new.append(environment)
    return new


def _last(texts: Sequence[str], opening: str) -> str | None:
    return next((text for text in reversed(texts) if text.startswith(opening)), None)


def readable_root(ctx: ToolContext) -> Path:
    """Return the folder outside of which nothing is read for the thread."""
    return ctx.sandbox.readable_roots[0] if ctx.sandbox.readable_roots else Path("/")


def _stable(text: str) -> str:
    """Return the environment without the line that changes by itself."""
    return "\n".join(line for line in text.splitlines() if VOLATILE not in line)
