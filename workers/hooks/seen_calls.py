"""A tool call as hooks see it: under the original's names, for which hooks are written (BEHAVIOUR-171 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.protocol.user_input import SHELL_COMMAND
from shared.store.items import Item
from workers.tools import apply_patch, exec_command
from workers.tools.arguments import read_arguments

BASH = "Bash"
PATCH_ALIASES = ("Write", "Edit")  # names that a matcher may have for patches


@dataclass(frozen=True, slots=True)
class SeenCall:
    """A call. names: for matchers; input: the arguments"""

    name: str
    names: tuple[str, ...]
    input: Mapping[str, object]

    def refusal(self, reason: str) -> str:
        """Return what the model reads when a hook refuses the call."""
        command = self.input.get("command") if self.name in (BASH, apply_patch.NAME) else None
        if command is not None:
            return f"Command blocked by PreToolUse hook: {reason}. Command: {command}"
        return f"Tool call blocked by PreToolUse hook: {reason}. Tool: {self.name}"


def seen_call(row: Item) -> SeenCall | None:
    """Return the call of a row; None: a command that the user typed.

    What counts is the tool that gets the call, whichever form the model gave the call.
    Errors: ToolError: a call that its tool cannot read, as the tool says it
    """
    call = row.model_items[0]
    if call["type"] == SHELL_COMMAND:
        return None
    text = arguments_of(row)
    if _is_for(call, apply_patch.NAME):
        patch = apply_patch.patch_of(text)
        return SeenCall(apply_patch.NAME, (apply_patch.NAME, *PATCH_ALIASES), {"command": patch})
    if _is_for(call, exec_command.NAME):
        return SeenCall(BASH, (BASH,), {"command": exec_command.Arguments(text, call["name"]).text("cmd")})
    arguments = read_arguments(text, call["name"])
    name = f"{call['namespace']}__{call['name']}" if call.get("namespace") else call["name"]
    return SeenCall(name, (name,), arguments)


def changed_arguments(row: Item, changed: Mapping[str, object]) -> str | None:
    """Return the arguments of a call after a hook has changed its input; None: the hook's input does not fit."""
    call = row.model_items[0]
    is_patch = _is_for(call, apply_patch.NAME)
    if not is_patch and not _is_for(call, exec_command.NAME):
        return orjson.dumps(changed).decode()
    command = changed.get("command")
    if not isinstance(command, str):
        return None
    if is_patch:
        return orjson.dumps({"input": command}).decode()
    return orjson.dumps({**read_arguments(arguments_of(row), call["name"]), "cmd": command}).decode()


def arguments_of(row: Item) -> str:
    """Return the arguments of the model's call in a row, as a hook may have changed them."""
    if row.hooks is not None and "arguments" in row.hooks:
        return row.hooks["arguments"]
    call = row.model_items[0]
    text: str = call["arguments"] if call["type"] == "function_call" else call["input"]
    return text


def response_of(row: Item) -> object:
    """Return the output of a call that has ended, as hooks see it: of a command without what the model reads on top."""
    if row.kind == "commandExecution" and row.item is not None and row.item.get("aggregatedOutput") is not None:
        return row.item["aggregatedOutput"]
    output: object = row.model_items[-1].get("output")
    return output


def _is_for(call: Mapping[str, Any], tool: str) -> bool:
    """Return whether a call is one of this tool of ours, and not of a server's tool with that name."""
    return call["name"] == tool and not call.get("namespace")
