"""A tool call as hooks see it, and how what they change gets back into it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.errors import ToolError
from shared.store.items import Item
from workers.hooks.seen_calls import changed_arguments, seen_call
from workers.tools import apply_patch


def row(call: dict[str, Any]) -> Item:
    return Item(
        "i", "t", "u", 1, "call", model_items=[{"type": "function_call", "call_id": "c", **call}], answered=False
    )


def test_a_tool_of_an_mcp_server_has_its_servers_name_even_if_it_is_called_like_ours() -> None:
    for name in ("search", "exec_command"):
        call = row({"namespace": "mcp__notes", "name": name, "arguments": '{"cmd": "x"}'})
        seen = seen_call(call)

        assert seen is not None
        assert (seen.name, seen.input) == (f"mcp__notes__{name}", {"cmd": "x"})
        assert json.loads(changed_arguments(call, {"q": 1}) or "") == {"q": 1}


def test_a_command_is_seen_by_its_line_and_keeps_its_other_arguments() -> None:
    call = row({"name": "exec_command", "arguments": '{"cmd": "ls", "workdir": "a"}'})
    seen = seen_call(call)

    assert seen is not None
    assert (seen.name, seen.input) == ("Bash", {"command": "ls"})
    assert json.loads(changed_arguments(call, {"command": "pwd"}) or "") == {"cmd": "pwd", "workdir": "a"}
    assert changed_arguments(call, {"other": 1}) is None


@pytest.mark.parametrize("arguments", ["{", "[]", '{"cmd": 1}', '{"cmd": "ls", "x": NaN}'])
def test_a_call_that_its_tool_cannot_read_is_not_shown_as_another(arguments: str) -> None:
    with pytest.raises(ToolError, match="exec_command: "):
        seen_call(row({"name": "exec_command", "arguments": arguments}))


def test_hooks_see_the_command_that_runs_when_its_text_has_to_be_repaired() -> None:
    seen = seen_call(row({"name": "exec_command", "arguments": '{"cmd": "rm -rf x # \\ud800"}'}))

    assert seen is not None
    assert seen.input == {"command": "rm -rf x # \ufffd"}


def test_what_counts_is_the_tool_that_runs_and_not_the_form_of_the_call() -> None:
    patch = "*** Begin Patch"
    for call in (
        {"type": "custom_tool_call", "name": "apply_patch", "input": patch},
        {"name": "apply_patch", "arguments": json.dumps({"input": patch})},
    ):
        seen = seen_call(row(call))
        assert seen is not None
        assert (seen.names, seen.input) == (("apply_patch", "Write", "Edit"), {"command": patch})
        assert apply_patch.patch_of(changed_arguments(row(call), {"command": "changed"}) or "") == "changed"
    command = seen_call(row({"type": "custom_tool_call", "name": "exec_command", "input": '{"cmd": "ls"}'}))
    assert command is not None
    assert (command.names, command.input) == (("Bash",), {"command": "ls"})


def test_a_tool_of_a_client_that_is_called_like_a_command_is_refused_as_what_it_is() -> None:
    seen = seen_call(row({"name": "Bash", "arguments": '{"x": 1}'}))

    assert seen is not None
    assert seen.refusal("no") == "Tool call blocked by PreToolUse hook: no. Tool: Bash"
