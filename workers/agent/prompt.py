"""The log so far → the model's input (PROTOCOL section 11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any

from shared.config import Config
from shared.store.items import Item
from workers.models.chunks import Prompt
from workers.tools import TOOLS, dynamic_tool, request_user_input
from workers.tools.base import ToolContext
from workers.workspace import environment_context, instructions

BASE_INSTRUCTIONS = resources.files("workers.agent").joinpath("instructions.md").read_text()
PLAN_INSTRUCTIONS = resources.files("workers.agent").joinpath("plan_mode.md").read_text()
REVIEW_INSTRUCTIONS = resources.files("workers.agent").joinpath("review_mode.md").read_text()
VOLATILE = "<current_date>"  # a line of the environment that changes by itself


def build(
    config: Config,
    settings: dict[str, Any],
    rows: Sequence[Item],
    thread_id: str,
    turn_id: str,
    options: dict[str, Any],
) -> Prompt:
    """One request to the model. rows: the log since the last compaction, no call without its output."""
    said = [settings.get("baseInstructions") or BASE_INSTRUCTIONS, config.developer_instructions]
    said += [settings.get("developerInstructions"), mode_instructions(settings)]
    head = [message("developer", text) for text in said if text]
    return Prompt(
        model=settings["model"],
        input=head + [item for row in rows for item in row.model_items],
        tools=offered(settings),
        thread_id=thread_id,
        turn_id=turn_id,
        effort=settings.get("effort"),
        summary=settings.get("summary"),
        output_schema=options.get("outputSchema"),
    )


def offered(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Definitions of the tools that a thread's model may call: ours, then those of the thread's client."""
    names = [name for name in TOOLS if name != request_user_input.NAME or is_planning(settings)]
    return [TOOLS[name].SPEC for name in names] + dynamic_tool.specs(settings.get("dynamicTools") or ())


def mode_instructions(settings: dict[str, Any]) -> str | None:
    """What the collaboration mode tells the model: its client's words, else ours for plan mode."""
    mode = settings.get("collaborationMode") or {}
    own = (mode.get("settings") or {}).get("developer_instructions")
    return own or (PLAN_INSTRUCTIONS if is_planning(settings) else None)


def is_planning(settings: dict[str, Any]) -> bool:
    """Whether the thread is in plan mode."""
    return bool((settings.get("collaborationMode") or {}).get("mode") == "plan")


def context_due(rows: Sequence[Item], ctx: ToolContext, approval_policy: str) -> list[dict[str, Any]]:
    """What the harness has to tell the model before it goes on: the project's instructions and where it works.

    Nothing while the log says it already; only the environment when that has changed. Each is an item of its own,
    never part of what the user said.
    """
    told = [row for row in rows if row.kind == "context"]
    environment = message(
        "user", environment_context(ctx.cwd, ctx.sandbox, approval_policy, datetime.now().astimezone())
    )
    if told:
        texts = [_stable(part["content"][0]["text"]) for row in told for part in row.model_items]
        last = next((text for text in reversed(texts) if text.startswith("<environment_context>")), None)
        return [] if last == _stable(environment["content"][0]["text"]) else [environment]
    found = [
        message("user", f"# AGENTS.md instructions for {path.parent}\n\n<INSTRUCTIONS>\n{text}\n</INSTRUCTIONS>")
        for path, text in instructions(ctx.cwd, readable_root(ctx))
    ]
    return [*found, environment]


def readable_root(ctx: ToolContext) -> Path:
    """The folder outside of which nothing is read for the thread."""
    return ctx.sandbox.readable_roots[0] if ctx.sandbox.readable_roots else Path("/")


def message(role: str, text: str) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def _stable(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if VOLATILE not in line)
