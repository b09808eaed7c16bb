"""Events of `exec --json` that no script of a model brings about; tests/clients/test_exec.py compares the others."""

from __future__ import annotations

from typing import Any

from api.cli.client import EventData
from api.cli.exec_events import ExecEvents

STARTED = {"type": "turn.started"}


def convert(*events: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    converter = ExecEvents()
    sent: list[EventData] = [{"method": method, "params": params} for method, params in events]
    return [line for event in sent for line in converter.convert(event)]


def plan(one: str, two: str) -> tuple[str, dict[str, Any]]:
    return "turn/plan/updated", {"plan": [{"step": "one", "status": one}, {"step": "two", "status": two}]}


def ended(status: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "turn/completed", {"turn": {"id": "turn", "status": status, **more}}


def test_a_plan_is_an_item_that_ends_with_the_turn() -> None:
    message = {"id": "m", "type": "agentMessage", "text": "ok"}
    shown = convert(
        plan("inProgress", "pending"),
        plan("completed", "inProgress"),
        ("item/completed", {"item": message}),
        ended("completed"),
    )

    lists = [{"text": "one", "completed": False}, {"text": "two", "completed": False}]
    item = {"id": "item_0", "type": "todo_list"}
    later = {**item, "items": [{"text": "one", "completed": True}, lists[1]]}
    assert shown[:-1] == [
        STARTED,
        {"type": "item.started", "item": {**item, "items": lists}},
        {"type": "item.updated", "item": later},
        {"type": "item.completed", "item": {"id": "item_1", "type": "agent_message", "text": "ok"}},
        {"type": "item.completed", "item": later},
    ]
    assert shown[-1]["type"] == "turn.completed"
    assert set(shown[-1]["usage"].values()) == {0}


def test_warnings_are_items_of_the_type_error() -> None:
    shown = convert(
        ("configWarning", {"summary": "Ignored.", "details": "key"}),
        ("deprecationNotice", {"summary": "Old.", "details": None}),
        ("warning", {"threadId": "t", "message": "Cut."}),
    )

    assert [line["item"] for line in shown] == [
        {"id": "item_0", "type": "error", "message": "Ignored. (key)"},
        {"id": "item_1", "type": "error", "message": "Old."},
        {"id": "item_2", "type": "error", "message": "Cut."},
    ]


def test_an_interrupted_turn_has_failed_and_a_lost_start_is_made_up_for() -> None:
    assert convert(ended("interrupted", error=None)) == [
        STARTED,
        {"type": "turn.failed", "error": {"message": "the turn was interrupted"}},
    ]


def test_calls_of_other_servers_are_shown() -> None:
    call = {"id": "c", "type": "mcpToolCall", "server": "demo", "tool": "echo", "arguments": {"ok": 1}}
    text = [{"type": "text", "text": "hi"}]
    shown = convert(
        ("item/started", {"item": {**call, "status": "inProgress", "result": None, "error": None}}),
        (
            "item/completed",
            {
                "item": {
                    **call,
                    "status": "completed",
                    "error": None,
                    "result": {"content": text, "structuredContent": {"n": 7}, "_meta": None},
                }
            },
        ),
        (
            "item/completed",
            {"item": {**call, "id": "d", "status": "failed", "result": None, "error": {"message": "boom"}}},
        ),
    )

    members = {"type": "mcp_tool_call", "server": "demo", "tool": "echo", "arguments": {"ok": 1}}
    assert [line["item"] for line in shown[1:]] == [
        {"id": "item_0", **members, "result": None, "error": None, "status": "in_progress"},
        {
            "id": "item_0",
            **members,
            "result": {"content": text, "structured_content": {"n": 7}},
            "error": None,
            "status": "completed",
        },
        {"id": "item_1", **members, "result": None, "error": {"message": "boom"}, "status": "failed"},
    ]


def test_a_declined_patch_has_failed_and_a_declined_command_was_declined() -> None:
    patch = {
        "id": "p",
        "type": "fileChange",
        "status": "declined",
        "changes": [{"path": "/a", "kind": {"type": "delete"}, "diff": ""}],
    }
    command = {
        "id": "c",
        "type": "commandExecution",
        "status": "declined",
        "command": "ls",
        "aggregatedOutput": None,
        "exitCode": None,
    }

    shown = convert(*[("item/completed", {"item": item}) for item in (patch, command)])

    assert [line["item"]["status"] for line in shown[1:]] == ["failed", "declined"]
    assert shown[1]["item"]["changes"] == [{"path": "/a", "kind": "delete"}]
