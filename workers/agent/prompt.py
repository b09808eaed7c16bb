"""Builds the model's input from the log (PROTOCOL section 11): instructions, tools, and the context of the workspace.

Reads instruction files and the environment of the thread's folder; stores nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import cast

from shared.config import Config
from shared.protocol.model_items import Message, ModelItem, OfferedTool, text_message
from shared.protocol.settings import ThreadSettings
from shared.protocol.turn import TurnOptions
from shared.protocol.web_search import CALL
from shared.store.items import Item
from workers.agent import skill_list, web_search
from workers.models.chunks import Prompt
from workers.tools import TOOLS, dynamic_tool, request_user_input
from workers.tools.base import ToolContext
from workers.workspace.folders import environment_context
from workers.workspace.instructions import HEADING, Instructions
from workers.workspace.skills import Skills

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


@dataclass(frozen=True, slots=True)
class MissingContext:
    """What the model must read before it goes on, each if it is new: a message of its own, never part of a user's.

    skills_changed: an earlier list of skills is replaced
    """

    skills: str | None
    instructions: str | None
    environment: str | None
    skills_changed: bool

    def messages(self) -> list[Message]:
        """Return the messages in their order."""
        texts = (("developer", self.skills), ("user", self.instructions), ("user", self.environment))
        return [text_message(role, text) for role, text in texts if text is not None]


def missing_context(
    rows: Sequence[Item],
    ctx: ToolContext,
    approval_policy: str,
    found: Instructions | None,
    skills: Skills | None,
    context_window: int,
) -> MissingContext:
    """Return the list of skills, the instructions and where the model works, as far as they are not in the log.

    found, skills: what is in force; None: it was not looked for
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
    last_list = _last(texts, skill_list.OPENING)
    is_new = _stable(_last(texts, ENVIRONMENT_OPENING) or "") != _stable(environment)
    new_list = skill_list.text_to_add(skills, last_list, context_window) if skills is not None else None
    return MissingContext(
        skills=new_list,
        instructions=found.to_add(_last(texts, HEADING)) if found is not None else None,
        environment=environment if is_new else None,
        skills_changed=new_list is not None and last_list is not None,
    )


def _last(texts: Sequence[str], opening: str) -> str | None:
    return next((text for text in reversed(texts) if text.startswith(opening)), None)


def readable_root(ctx: ToolContext) -> Path:
    """Return the folder outside of which nothing is read for the thread."""
    return ctx.sandbox.readable_roots[0] if ctx.sandbox.readable_roots else Path("/")


def _stable(text: str) -> str:
    """Return the environment without the line that changes by itself."""
    return "\n".join(line for line in text.splitlines() if VOLATILE not in line)
