"""A tool call as hooks see it, and how what they change gets back into it."""

from __future__ import annotations

import json
from typing import Any

from shared.store.items import Item
from workers.hooks.seen_calls import changed_arguments, seen_call


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


def test_a_call_that_no_tool_can_read_has_no_hooks() -> None:
    for arguments in ("{", "[]", '{"cmd": 1}'):
        assert seen_call(row({"name": "exec_command", "arguments": arguments})) is None
