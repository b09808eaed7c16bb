"""A tool call as hooks see it: under the original's names, for which hooks are written (BEHAVIOUR-171 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from shared.protocol.user_input import SHELL_COMMAND
from shared.store.items import Item
from workers.tools import apply_patch, exec_command

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
        if self.name in (BASH, apply_patch.NAME):
            return f"Command blocked by PreToolUse hook: {reason}. Command: {self.input['command']}"
        return f"Tool call blocked by PreToolUse hook: {reason}. Tool: {self.name}"


def seen_call(row: Item) -> SeenCall | None:
    """Return the call of a row; None: a command that the user typed, or a call that no tool can read."""
    call = row.model_items[0]
    if call["type"] == SHELL_COMMAND:
        return None
    text = arguments_of(row)
    if call["type"] != "function_call":
        aliases = PATCH_ALIASES if call["name"] == apply_patch.NAME else ()
        return SeenCall(call["name"], (call["name"], *aliases), {"command": text})
    arguments = _table(text)
    if arguments is None:
        return None
    if _is_command(call):
        line = arguments.get("cmd")
        return SeenCall(BASH, (BASH,), {"command": line}) if isinstance(line, str) else None
    name = f"{call['namespace']}__{call['name']}" if call.get("namespace") else call["name"]
    return SeenCall(name, (name,), arguments)


def changed_arguments(row: Item, changed: Mapping[str, object]) -> str | None:
    """Return the arguments of a call after a hook has changed its input; None: the hook's input does not fit."""
    call = row.model_items[0]
    if call["type"] == "function_call" and not _is_command(call):
        return orjson.dumps(changed).decode()
    command = changed.get("command")
    if not isinstance(command, str):
        return None
    if call["type"] != "function_call":
        return command
    return orjson.dumps({**(_table(arguments_of(row)) or {}), "cmd": command}).decode()


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


def _is_command(call: Mapping[str, Any]) -> bool:
    """Return whether a function call is one of exec_command, and not of a server's tool with that name."""
    return call["name"] == exec_command.NAME and not call.get("namespace")


def _table(text: str) -> dict[str, Any] | None:
    try:
        values = orjson.loads(text)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
