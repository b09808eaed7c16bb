"""A thread → the lines of a rollout file."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import orjson

from shared.config.model_catalogue import context_window
from shared.protocol.thread import CODEX_VERSION
from shared.protocol.token_usage import ThreadTokenUsage
from shared.protocol.user_input import SHELL_COMMAND
from shared.rollout.items import counts_to_rollout, error_to_rollout, policy_to_rollout, to_rollout
from shared.rollout.lines import (
    CollaborationMode,
    Event,
    LineType,
    Payload,
    SessionMeta,
    TokenInfo,
    TurnContext,
    timestamp,
)
from shared.store.items import Item
from shared.store.threads import Thread
from shared.store.turns import Turn

ORIGINATOR = "threadhouse"
STARTED = "task_started"
WRITTEN_BY_MODEL = ("agentMessage", "reasoning", "webSearch")  # kinds of rows; searches of the server have a call

Line = tuple[int, LineType, Payload]  # time in Unix ms, type, payload


def file_name(thread: Thread) -> PurePosixPath:
    """Return YYYY/MM/DD/rollout-YYYY-MM-DDTHH-MM-SS-<thread id>.jsonl, by the time of creation in UTC."""
    at = datetime.datetime.fromtimestamp(thread.created_at_ms / 1000, datetime.UTC)
    return PurePosixPath(f"{at:%Y/%m/%d}", f"rollout-{at:%Y-%m-%dT%H-%M-%S}-{thread.id}.jsonl")


def write(thread: Thread, turns: Sequence[Turn], items_of: Callable[[str], Iterable[Item]]) -> Iterator[bytes]:
    """Yield the lines of a thread's file, each with its line end.

    items_of: returns the items of a turn by its id; called for one turn at a time, as its lines are made
    """
    latest_ms = 0
    for ordinal, (at_ms, kind, payload) in enumerate(_lines(thread, turns, items_of)):
        latest_ms = max(latest_ms, at_ms)
        line = {"timestamp": timestamp(latest_ms), "ordinal": ordinal, "type": kind, "payload": payload}
        yield orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _lines(thread: Thread, turns: Sequence[Turn], items_of: Callable[[str], Iterable[Item]]) -> Iterator[Line]:
    yield thread.created_at_ms, "session_meta", _session_meta(thread)
    if thread.name is not None:
        named: Event = {"type": "thread_name_updated", "thread_id": thread.id, "thread_name": thread.name}
        yield thread.created_at_ms, "event_msg", named
    for turn in turns:
        yield from _turn_lines(thread, turn, items_of(turn.id), is_last=turn is turns[-1])


def _session_meta(thread: Thread) -> SessionMeta:
    settings, git = thread.settings, thread.git_info
    meta: SessionMeta = {
        "id": thread.id,
        "session_id": thread.session_id,
        "timestamp": timestamp(thread.created_at_ms),
        "cwd": settings["cwd"],
        "runtime_workspace_roots": [settings["cwd"]],
        "originator": thread.originator or ORIGINATOR,
        "cli_version": CODEX_VERSION,
        "source": thread.source,
        "model_provider": settings["modelProvider"],
        "history_mode": "paginated",
    }
    if thread.forked_from_id is not None:
        meta["forked_from_id"] = thread.forked_from_id
    if thread.thread_source is not None:
        meta["thread_source"] = thread.thread_source
    instructions = settings.get("baseInstructions")
    if instructions:
        meta["base_instructions"] = {"text": instructions, "provenance": {"type": "custom"}}
    if git is not None:
        meta["git"] = {"commit_hash": git["sha"], "branch": git["branch"], "repository_url": git["originUrl"]}
    return meta


def _turn_context(thread: Thread, turn: Turn, *, is_last: bool) -> TurnContext:
    """Return the thread's settings. Long instructions are in the last context alone, which is the one that counts."""
    settings = thread.settings
    mode = settings.get("collaborationMode")
    instructions = (mode["settings"].get("developer_instructions") if mode else None) or settings.get(
        "developerInstructions"
    )
    written: CollaborationMode = {
        "mode": mode["mode"] if mode else "default",
        "settings": {
            "model": settings["model"],
            "reasoning_effort": settings.get("effort"),
            "developer_instructions": instructions if is_last else None,
        },
    }
    return {
        "turn_id": turn.id,
        "root_turn_id": turn.id,
        "cwd": settings["cwd"],
        "approval_policy": settings["approvalPolicy"],
        "approvals_reviewer": settings["approvalsReviewer"],
        "sandbox_policy": policy_to_rollout(settings["sandboxPolicy"]),
        "model": settings["model"],
        "effort": settings.get("effort"),
        "summary": settings.get("summary") or "none",
        "personality": settings.get("personality"),
        "collaboration_mode": written,
    }


def _turn_lines(thread: Thread, turn: Turn, rows: Iterable[Item], *, is_last: bool) -> Iterator[Line]:
    usage = thread.token_usage if is_last else None
    started_at_ms = turn.started_at_ms or turn.created_at_ms
    started: Event = {
        "type": STARTED,
        "turn_id": turn.id,
        "root_turn_id": turn.id,
        "started_at": started_at_ms // 1000,
        "model_context_window": usage["modelContextWindow"] if usage else context_window(thread.settings["model"]),
        "collaboration_mode_kind": "default",
    }
    yield started_at_ms, "event_msg", started
    yield started_at_ms, "turn_context", _turn_context(thread, turn, is_last=is_last)
    at_ms, message = started_at_ms, None
    for row in rows:
        at_ms = row.completed_at_ms or row.started_at_ms or at_ms
        if row.kind == "agentMessage" and row.item is not None:
            message = str(row.item["text"])
        for kind, payload in _row_lines(row):
            yield at_ms, kind, payload
    if usage is not None:
        counted: Event = {"type": "token_count", "info": _token_info(usage), "rate_limits": None}
        yield at_ms, "event_msg", counted
    if turn.completed_at_ms is not None:
        yield turn.completed_at_ms, "event_msg", _turn_end(turn, started_at_ms, turn.completed_at_ms, message)


def _turn_end(turn: Turn, started_at_ms: int, completed_at_ms: int, message: str | None) -> Event:
    end: Event = {
        "type": "task_complete",
        "turn_id": turn.id,
        "root_turn_id": turn.id,
        "started_at": started_at_ms // 1000,
        "completed_at": completed_at_ms // 1000,
        "duration_ms": completed_at_ms - started_at_ms,
    }
    if turn.status == "interrupted":
        return {**end, "type": "turn_aborted", "reason": "interrupted"}
    if turn.status == "failed" and turn.error is not None:
        return {**end, "last_agent_message": None, "error": error_to_rollout(turn.error)}
    return {**end, "last_agent_message": message}


def _row_lines(row: Item) -> Iterator[tuple[LineType, Payload]]:
    """Yield a row's lines: what the model wrote follows its item, what the model was given precedes it.

    A tool call is written as call, item, output.
    """
    before = 1 if row.call_id else 0 if row.kind in WRITTEN_BY_MODEL else len(row.model_items)
    if row.kind == "contextCompaction":
        text = text_of(row.model_items[-1:])
        yield "compacted", {"message": text, "replacement_history": row.model_items}
    else:
        yield from (("response_item", item) for item in row.model_items[:before] if item["type"] != SHELL_COMMAND)
    if row.item is not None and row.completed_at_ms is not None:
        completed: Event = {
            "type": "item_completed",
            "thread_id": row.thread_id,
            "turn_id": row.turn_id,
            "item": to_rollout(row.kind, row.id, row.item),
            "started_at_ms": row.started_at_ms,
            "completed_at_ms": row.completed_at_ms,
        }
        yield "event_msg", completed
    yield from (("response_item", item) for item in row.model_items[before:])


def text_of(model_items: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of messages of the model or to the model."""
    parts = (part for item in model_items for part in item.get("content") or ())
    return "".join(part.get("text", "") for part in parts)


def _token_info(usage: ThreadTokenUsage) -> TokenInfo:
    return {
        "total_token_usage": counts_to_rollout(usage["total"]),
        "last_token_usage": counts_to_rollout(usage["last"]),
        "last_usage_includes_reasoning": False,
        "model_context_window": usage["modelContextWindow"],
    }
