"""A thread ⇄ a rollout file. data/ has a line of every kind, as the original writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared import rollout
from shared.clock import now_ms
from shared.errors import InvalidRequest
from shared.ids import new_id
from shared.protocol.model_item_checks import checked
from shared.protocol.model_items import call_output, user_message
from shared.protocol.token_usage import token_counts
from shared.protocol.turn import turn_error
from shared.rollout.items import from_rollout, policy_from_rollout, policy_to_rollout, to_rollout
from shared.store.histories import History, with_fresh_ids
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import Turn
from tests.support.images import PNG, data_url
from tests.support.strange import one_member_changed

SAMPLES = Path(__file__).parent / "data" / "rollout_line_samples.jsonl"
AT_MS = 1_795_345_090_132
META = {
    "id": "01a202e8-05e8-7e83-b3af-f91d41a4e665",
    "timestamp": "2026-11-22T10:58:10.044Z",
    "cwd": "/home/user/project",
}


def line(kind: str, payload: dict[str, Any], at: str = "2026-11-22T11:00:00.000Z") -> bytes:
    return json.dumps({"timestamp": at, "type": kind, "payload": payload}).encode() + b"\n"


def event(kind: str, **payload: Any) -> bytes:
    return line("event_msg", {"type": kind, **payload})


def message(role: str, text: str) -> bytes:
    part = {"type": "input_text" if role == "user" else "output_text", "text": text}
    return line("response_item", {"type": "message", "id": "msg_1", "role": role, "content": [part], "metadata": {}})


def shown(history: History) -> list[tuple[str, dict[str, Any]]]:
    """The turn and the item of each row that clients see."""
    return [(row.turn_id, row.wire()) for row in history.items if row.item is not None]


def model_input(history: History) -> list[dict[str, Any]]:
    return [item for row in history.items for item in row.model_items]


def written(history: History) -> Iterator[bytes]:
    def items_of(turn_id: str) -> list[Item]:
        return [row for row in history.items if row.turn_id == turn_id]

    return rollout.write(history.thread, history.turns, items_of)


def written_and_read(history: History) -> History:
    return rollout.read(written(history), history.thread.owner)


def make_history() -> History:
    """Three turns: completed with every kind of item that a worker makes, failed, interrupted."""
    thread_id = new_id()
    turns = [
        Turn(
            turn_id,
            thread_id,
            "local",
            "done",
            status,
            {},
            AT_MS + i * 5000,
            published_state=2,
            started_at_ms=AT_MS + i * 5000,
        )
        for i, (turn_id, status) in enumerate(
            zip(sorted(new_id() for _ in range(3)), ("completed", "failed", "interrupted"), strict=True)
        )
    ]
    turns = [replace(turn, completed_at_ms=(turn.started_at_ms or 0) + 1234) for turn in turns]
    cause = {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}
    turns[1] = replace(turns[1], error=turn_error("exceeded retry limit", cause))
    rows: list[Item] = []

    def add(turn: Turn, kind: str, item: dict[str, Any] | None, *model_items: dict[str, Any], **values: Any) -> None:
        times = (
            {"started_at_ms": AT_MS + len(rows), "completed_at_ms": AT_MS + len(rows) + 1} if item is not None else {}
        )
        row = Item(
            new_id(),
            thread_id,
            turn.id,
            len(rows) + 1,
            kind,
            item,
            list(model_items),
            published_state=2,
            **times,
            **values,
        )
        rows.append(row)

    def add_input(turn: Turn, text: str, **part: Any) -> None:
        content = [{"type": "text", "text": text, "text_elements": []}, *([part] if part else [])]
        add(turn, "userMessage", {"clientId": "c" if part else None, "content": content}, user_message(content))

    def call(
        turn: Turn, name: str, kind: str = "call", item: dict[str, Any] | None = None, output: str = "out"
    ) -> None:
        asked = {"type": "function_call", "name": name, "arguments": "{}", "call_id": f"call_{len(rows)}"}
        add(turn, kind, item, asked, call_output(asked, output), call_id=asked["call_id"])

    first, second, third = turns
    environment = {"type": "input_text", "text": "<environment_context>\n</environment_context>"}
    add(first, "context", None, {"type": "message", "role": "user", "content": [environment]})
    add_input(first, "Fix it.", type="localImage", path="/home/user/project/a b.png")
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "ZW5j"}
    add(first, "reasoning", {"summary": ["Hm."], "content": []}, thought)
    command = {
        "command": "/bin/bash -lc 'grep -n x \"a b\"; exit 3'",
        "cwd": "/home/user/my project",
        "processId": "77",
        "source": "unifiedExecStartup",
        "status": "failed",
        "commandActions": [
            {"type": "search", "command": "grep -n x 'a b'", "query": "x", "path": "a b"},
            {"type": "read", "command": "cat a", "name": "a", "path": "/home/user/a"},
            {"type": "listFiles", "command": "ls", "path": None},
            {"type": "unknown", "command": "exit 3"},
        ],
        "aggregatedOutput": "1:x\n",
        "exitCode": 3,
        "durationMs": 1111,
        "pluginId": None,
        "scriptPath": None,
    }
    call(first, "exec_command", "commandExecution", command)
    call(first, "write_stdin")
    declined = {**command, "source": "agent", "status": "declined", "processId": None, "aggregatedOutput": None}
    call(first, "exec_command", "commandExecution", {**declined, "exitCode": None, "durationMs": None})
    changes = [
        {"path": "/home/user/project/new", "kind": {"type": "add"}, "diff": "text\n"},
        {"path": "/home/user/project/old", "kind": {"type": "delete"}, "diff": "text\n"},
        {
            "path": "/home/user/project/a",
            "kind": {"type": "update", "move_path": "/b"},
            "diff": "@@ -1 +1 @@\n-a\n+b\n",
        },
    ]
    patch = {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin Patch\n", "call_id": "call_patch"}
    patched = {"changes": changes, "status": "completed"}
    add(first, "fileChange", patched, patch, call_output(patch, "Success."), call_id="call_patch")
    call(first, "view_image", "imageView", {"path": "/home/user/project/a b.png"})
    members = {"moderation": None, "memoryCitation": None, "delivery": None, "questions": None}
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
    add(first, "agentMessage", {"text": "Done.", "phase": "final_answer", **members}, answer)
    summary = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "So far: done."}]}
    add(second, "contextCompaction", {}, summary)
    add_input(second, "More.")
    add_input(third, "Stop.")
    counts = token_counts(7, input=7, cached_input=7, output=7, reasoning_output=7) | {"cacheWriteInputTokens": 7}
    thread = Thread(
        id=thread_id,
        owner="local",
        session_id=thread_id,
        settings={
            "model": "m",
            "modelProvider": "mock",
            "effort": "high",
            "summary": "auto",
            "cwd": "/home/user/project",
            "approvalPolicy": "on-request",
            "approvalsReviewer": "user",
            "sandboxPolicy": {"type": "workspaceWrite", "writableRoots": ["/x"], "networkAccess": True},
            "developerInstructions": "Be brief.",
            "baseInstructions": "You are a gardener.",
        },
        source="vscode",
        created_at_ms=AT_MS,
        updated_at_ms=AT_MS + 11_234,
        recency_at_ms=AT_MS + 11_234,
        used_at_ms=AT_MS + 11_234,
        name="A name",
        preview="Fix it.",
        forked_from_id=new_id(),
        thread_source="user",
        originator="example_client",
        git_info={"sha": "a" * 40, "branch": "main", "originUrl": None},
        materialized=True,
        token_usage={"total": counts, "last": counts, "modelContextWindow": 1000},
    )
    return History(thread, turns, rows)


def test_a_thread_is_unchanged_after_writing_and_reading() -> None:
    history = make_history()

    found = written_and_read(history)

    assert found.thread == history.thread
    assert found.turns == history.turns
    assert shown(found) == shown(history)
    assert model_input(found) == model_input(history)
    assert [row.kind for row in found.items] == [row.kind for row in history.items]


def test_the_compaction_keeps_its_summary_for_the_model() -> None:
    found = written_and_read(make_history())

    (compaction,) = [row for row in found.items if row.kind == "contextCompaction"]
    assert [item["content"][0]["text"] for item in compaction.model_items] == ["So far: done."]


def test_lines_have_consecutive_ordinals_and_ascending_timestamps() -> None:
    lines = [json.loads(raw) for raw in written(make_history())]

    assert [one["ordinal"] for one in lines] == list(range(len(lines)))
    assert [one["timestamp"] for one in lines] == sorted(one["timestamp"] for one in lines)
    assert lines[0]["type"] == "session_meta"
    assert lines[0]["payload"]["history_mode"] == "paginated"


def test_instructions_are_in_a_file_once_however_many_turns_it_has() -> None:
    contexts = [one["payload"] for raw in written(make_history()) if (one := json.loads(raw))["type"] == "turn_context"]

    found = [context["collaboration_mode"]["settings"]["developer_instructions"] for context in contexts]
    assert found == [None, None, "Be brief."]


def test_the_items_of_a_turn_are_read_when_its_lines_are_written() -> None:
    history = make_history()
    read: list[str] = []

    def items_of(turn_id: str) -> list[Item]:
        read.append(turn_id)
        return [row for row in history.items if row.turn_id == turn_id]

    for raw in rollout.write(history.thread, history.turns, items_of):
        started = json.loads(raw)["payload"]
        if started.get("type") == "task_started":
            before = [turn.id for turn in history.turns if turn.id < started["turn_id"]]
            assert [turn_id for turn_id in read if turn_id != started["turn_id"]] == before
    assert read == [turn.id for turn in history.turns]


def test_a_file_name_contains_the_time_of_creation_in_utc() -> None:
    thread = make_history().thread

    assert str(rollout.file_name(thread)) == f"2026/11/22/rollout-2026-11-22T10-58-10-{thread.id}.jsonl"


def test_every_kind_of_line_of_the_original_is_read_and_written_again() -> None:
    samples = rollout.read(SAMPLES.open("rb"), "local")

    assert {row.kind for row in samples.items if row.item is not None} == {
        "userMessage",
        "agentMessage",
        "reasoning",
        "commandExecution",
        "fileChange",
        "contextCompaction",
        "enteredReviewMode",
        "exitedReviewMode",
    }
    assert samples.thread.token_usage is not None
    assert samples.thread.token_usage["total"]["totalTokens"] == 120
    found = written_and_read(samples)
    assert (shown(found), model_input(found)) == (shown(samples), model_input(samples))


def _items_of_samples() -> list[dict[str, Any]]:
    payloads = (json.loads(raw)["payload"] for raw in SAMPLES.open())
    return [payload["item"] for payload in payloads if payload.get("type") == "item_completed"]


@pytest.mark.parametrize("item", _items_of_samples(), ids=lambda item: str(item["type"]))
def test_an_item_of_the_original_is_written_in_the_originals_form(item: dict[str, Any]) -> None:
    written = to_rollout(*_reordered(item))

    known = {name: value for name, value in item.items() if name not in ("stdout", "duration")}
    assert {name: written[name] for name in known} == known


def _reordered(item: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    kind, members = from_rollout(item)
    return kind, item["id"], members


@pytest.mark.parametrize(
    ("item", "in_file"),
    [
        (
            {
                "type": "dynamicToolCall",
                "namespace": None,
                "tool": "look_up",
                "arguments": {"userName": "ada"},
                "status": "failed",
                "contentItems": [{"type": "inputText", "text": "none"}],
                "success": False,
                "durationMs": 1234,
            },
            {
                "type": "DynamicToolCall",
                "namespace": None,
                "tool": "look_up",
                "arguments": {"userName": "ada"},
                "status": "failed",
                "content_items": [{"type": "inputText", "text": "none"}],
                "success": False,
                "duration": {"secs": 1, "nanos": 234_000_000},
            },
        ),
        (
            {
                "type": "webSearch",
                "query": "https://e.example/a",
                "action": {"type": "openPage", "url": "https://e.example/a"},
                "results": None,
            },
            {
                "type": "WebSearch",
                "query": "https://e.example/a",
                "action": {"type": "open_page", "url": "https://e.example/a"},
            },
        ),
        (
            {
                "type": "mcpToolCall",
                "server": "demo",
                "environmentId": None,
                "tool": "echo",
                "status": "completed",
                "arguments": {"someText": "a"},
                "appContext": None,
                "mcpAppUi": None,
                "pluginId": None,
                "readOnlyHint": None,
                "result": {"content": [{"type": "text", "text": "b"}], "structuredContent": None, "_meta": {"x_y": 1}},
                "error": None,
                "durationMs": 2,
            },
            {
                "type": "McpToolCall",
                "server": "demo",
                "tool": "echo",
                "arguments": {"someText": "a"},
                "status": "completed",
                "result": {"content": [{"type": "text", "text": "b"}], "isError": False, "_meta": {"x_y": 1}},
                "error": None,
                "duration": {"secs": 0, "nanos": 2_000_000},
            },
        ),
        ({"type": "plan", "text": "First."}, {"type": "Plan", "text": "First."}),
        ({"type": "contextCompaction"}, {"type": "ContextCompaction"}),
    ],
    ids=lambda item: str(item["type"]),
)
def test_an_item_as_it_is_stored_is_written_in_the_originals_form(
    item: dict[str, Any], in_file: dict[str, Any]
) -> None:
    written = to_rollout(item["type"], "item_1", item)

    assert written == {"id": "item_1", **in_file}
    kind, members = from_rollout(written)
    assert {"type": kind, **members} == item


def test_unknown_kinds_of_items_are_kept_with_renamed_members() -> None:
    item = {"type": "NewKind", "id": "n_1", "query": "q", "some_flag": True, "status": "in_progress"}

    kind, members = from_rollout(item)

    assert (kind, members) == ("newKind", {"query": "q", "someFlag": True, "status": "inProgress"})
    assert to_rollout(kind, "n_1", members) == item


@pytest.mark.parametrize(
    ("wire", "in_file"),
    [
        ({"type": "readOnly", "networkAccess": False}, {"type": "read-only", "network_access": False}),
        ({"type": "dangerFullAccess"}, {"type": "danger-full-access"}),
        ({"type": "externalSandbox", "networkAccess": True}, {"type": "external-sandbox", "network_access": "enabled"}),
        (
            {"type": "workspaceWrite", "writableRoots": ["/x"], "excludeSlashTmp": True},
            {"type": "workspace-write", "writable_roots": ["/x"], "exclude_slash_tmp": True},
        ),
    ],
)
def test_sandbox_policies_are_renamed_both_ways(wire: dict[str, Any], in_file: dict[str, Any]) -> None:
    assert policy_to_rollout(wire) == in_file
    assert policy_from_rollout(in_file) == wire


def test_a_legacy_file_gives_messages_reasoning_and_calls() -> None:
    call = {"type": "function_call", "id": "fc", "name": "exec_command", "arguments": "{}", "call_id": "c1"}
    lines = [
        line("session_meta", {**META, "history_mode": "legacy", "source": "cli"}),
        event("task_started", turn_id=new_id()),
        message("user", "<environment_context>"),
        message("user", "hello"),
        event("user_message", message="hello", images=["https://example.com/a.png"], local_images=["/a"]),
        event("agent_reasoning", text="Hm."),
        line("response_item", {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}),
        line("response_item", call),
        line("response_item", {"type": "function_call_output", "call_id": "c1", "output": "x"}),
        event("agent_message", message="hi"),
        message("assistant", "hi"),
        event("task_complete", last_agent_message="hi"),
    ]

    found = rollout.read(lines, "local")

    assert [row.kind for row in found.items] == ["context", "userMessage", "reasoning", "call", "agentMessage"]
    assert [part["type"] for part in found.items[1].wire()["content"]] == ["text", "image", "localImage"]
    assert found.items[4].wire()["text"] == "hi"
    assert [item["type"] for item in found.items[3].model_items] == ["function_call", "function_call_output"]
    assert found.turns[0].status == "completed"


def test_images_that_models_refuse_are_left_out_of_what_the_model_sees() -> None:
    parts = [{"type": "input_image", "image_url": url} for url in (data_url(PNG), "https://e.org/a", "data:,")]
    asked = {"type": "message", "role": "user", "content": parts}
    call = {"type": "function_call", "name": "view_image", "arguments": "{}", "call_id": "c1"}
    lines = [
        line("session_meta", META),
        line("compacted", {"message": "", "replacement_history": [asked]}),
        line("response_item", asked),
        line("response_item", call),
        line("response_item", {"type": "function_call_output", "call_id": "c1", "output": parts}),
    ]

    found = rollout.read(lines, "local")

    seen = [item.get("content") or item["output"] for row in found.items for item in row.model_items[-1:]]
    assert [[part["type"] for part in one] for one in seen] == [["input_image", "input_text", "input_text"]] * 3


def test_each_user_message_begins_a_turn_in_a_file_without_turn_ids() -> None:
    lines = [line("session_meta", META)]
    for text in ("one", "two"):
        lines += [message("user", text), event("user_message", message=text), message("assistant", f"{text}!")]

    found = rollout.read(lines, "local")

    assert [turn.status for turn in found.turns] == ["completed", "completed"]
    assert [(row.turn_id, row.kind) for row in found.items] == [
        (turn.id, kind) for turn in found.turns for kind in ("userMessage", "agentMessage")
    ]
    assert found.thread.preview == "one"


def test_members_that_only_the_original_understands_are_dropped() -> None:
    lines = [line("session_meta", META), message("user", "hello"), message("assistant", "hi")]

    assert {name for item in model_input(rollout.read(lines, "local")) for name in item} == {"type", "role", "content"}


def test_an_unfinished_turn_is_interrupted_and_its_call_gets_an_output() -> None:
    call = {"type": "function_call", "name": "exec_command", "arguments": "{}", "call_id": "c1"}
    lines = [line("session_meta", META), event("task_started", turn_id=new_id()), line("response_item", call)]

    found = rollout.read(lines, "local")

    assert (found.turns[0].status, found.turns[0].completed_at_ms) == ("interrupted", None)
    assert found.items[0].model_items[1] == {"type": "function_call_output", "call_id": "c1", "output": "aborted"}
    complete = replace(found, thread=replace(found.thread, settings=make_history().thread.settings))
    assert written_and_read(complete).turns == found.turns


def test_an_incomplete_last_line_is_ignored() -> None:
    lines = [line("session_meta", META), message("user", "hello"), b'{"timestamp": "2026-']

    assert len(rollout.read(lines, "local").items) == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "line 1: not a rollout file"),
        ([b"hello\n"], "line 1: not a rollout file"),
        ([b"{}\n"], "line 1: not a line of a rollout file"),
        ([message("user", "hello")], "line 1: not a rollout file; its first line must be a session_meta"),
        ([line("session_meta", {**META, "id": "../../x"})], "line 1: the thread's id is not a UUID"),
        ([line("session_meta", {**META, "history_base": {"thread_id": "T"}})], "line 1: a fork .* thread T"),
        ([line("session_meta", META), b"\n", b"{", message("user", "x")], "line 3: not JSON"),
        ([line("session_meta", META), line("response_item", {"no": "type"})], "line 2: not a line of a rollout file"),
        ([line("session_meta", META), event("item_completed", item={"type": "AgentMessage"})], "line 2: not a line"),
    ],
)
def test_a_file_that_is_no_rollout_is_refused_with_the_line_number(lines: list[bytes], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        rollout.read(lines, "local")


def test_parts_and_counts_of_another_kind_are_left_out() -> None:
    parts = [{"type": "input_text", "text": "hello"}, {"type": "input_text", "text": None}, {"type": "input_audio"}, 5]
    lines = [
        line("session_meta", META),
        line("response_item", {"type": "message", "role": "user", "content": parts}),
        line("compacted", {"message": "", "replacement_history": [{"type": "compaction", "encrypted_content": "x"}]}),
        event(
            "token_count",
            info={"total_token_usage": {"total_tokens": None, "input_tokens": "5"}, "last_token_usage": {"a": 1}},
        ),
    ]

    found = rollout.read(lines, "local")

    assert found.items[0].model_items[0]["content"] == parts[:1]
    assert found.thread.token_usage is not None
    assert set(found.thread.token_usage["total"].values()) == {0}


@pytest.mark.parametrize("number", range(len(SAMPLES.read_bytes().splitlines())))
def test_a_file_with_a_strange_member_is_refused_or_gives_whole_items(number: int) -> None:
    lines = [json.loads(raw) for raw in SAMPLES.open()]
    for changed in one_member_changed(lines[number], (None, 5, "strange", [], ["text"], {}, {"a": None})):
        raw = [json.dumps(one).encode() for one in (*lines[:number], changed, *lines[number + 1 :])]
        try:
            found = rollout.read(raw, "local")
        except InvalidRequest:
            continue
        for item in model_input(found):
            if item and item["type"] not in ("compaction", "web_search_call"):
                assert checked(item, "item") == item, changed


def test_fresh_ids_keep_the_order_of_turns_and_the_rows_of_each() -> None:
    history = make_history()

    fresh = with_fresh_ids(history)

    ids = [turn.id for turn in fresh.turns]
    assert ids == sorted(ids)
    assert not {turn.id for turn in history.turns} & set(ids)
    assert not {row.id for row in history.items} & {row.id for row in fresh.items}
    before = [[turn.id for turn in history.turns].index(row.turn_id) for row in history.items]
    assert [ids.index(row.turn_id) for row in fresh.items] == before
    assert {fresh.thread.session_id, *(row.thread_id for row in fresh.items)} == {fresh.thread.id}


def test_turn_ids_returns_the_turns_of_a_written_file() -> None:
    history = make_history()

    assert rollout.turn_ids(written(history)) == {turn.id for turn in history.turns}


def test_times_keep_their_milliseconds() -> None:
    at_ms = now_ms()
    history = make_history()
    thread = replace(history.thread, created_at_ms=at_ms)

    assert written_and_read(History(thread, [], [])).thread.created_at_ms == at_ms
