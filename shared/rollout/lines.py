"""The lines of a rollout file (PROTOCOL section 12): their members as the original writes them, and their timestamps.

A line is {"timestamp", "ordinal", "type", "payload"}. The types below are the payloads; a file of the original may have
more members, and older files may lack some.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from shared.protocol.turn import CodexErrorInfo

# Names of events that begin a turn; the second one is newer.
TURN_STARTED = ("task_started", "turn_started")

# An item of the model, as the Responses API has it; every kind has other members.
ModelItemLine = Mapping[str, object]
# An item as clients see it, in the file's names (shared.rollout.items).
ItemLine = Mapping[str, object]
# The sandbox policy in the file's names.
PolicyLine = Mapping[str, object]


class Text(TypedDict):
    """One text part of a message."""

    type: str
    text: str


class Provenance(TypedDict):
    """Where base instructions come from: "custom", or "model" for the model's own."""

    type: str


class BaseInstructions(TypedDict):
    """Instructions that replace the model's own."""

    text: NotRequired[str]
    provenance: NotRequired[Provenance | None]


class Git(TypedDict):
    """The git repository that a thread works in."""

    commit_hash: NotRequired[str | None]
    branch: NotRequired[str | None]
    repository_url: NotRequired[str | None]


class HistoryBase(TypedDict):
    """The thread whose file contains the beginning of a fork."""

    thread_id: str


class SessionMeta(TypedDict):
    """The first line: the thread. history_mode: "paginated" or absent (a legacy file)."""

    id: str
    timestamp: str
    cwd: str
    session_id: NotRequired[str]
    runtime_workspace_roots: NotRequired[Sequence[str]]
    originator: NotRequired[str]
    cli_version: NotRequired[str]
    source: NotRequired[object]
    model_provider: NotRequired[str | None]
    history_mode: NotRequired[str]
    history_base: NotRequired[HistoryBase | None]
    forked_from_id: NotRequired[str]
    thread_source: NotRequired[str | None]
    base_instructions: NotRequired[BaseInstructions | None]
    git: NotRequired[Git | None]


class ModeSettings(TypedDict):
    """Settings of a collaboration mode."""

    model: NotRequired[str | None]
    reasoning_effort: NotRequired[str | None]
    developer_instructions: NotRequired[str | None]


class CollaborationMode(TypedDict):
    """A collaboration mode: "default" or "plan"."""

    mode: str
    settings: ModeSettings


class TurnContext(TypedDict):
    """The settings that a turn ran with."""

    turn_id: NotRequired[str]
    root_turn_id: NotRequired[str]
    cwd: NotRequired[str]
    approval_policy: NotRequired[object]
    approvals_reviewer: NotRequired[str]
    sandbox_policy: NotRequired[PolicyLine]
    model: NotRequired[str]
    effort: NotRequired[str | None]
    summary: NotRequired[str | None]
    personality: NotRequired[str | None]
    collaboration_mode: NotRequired[CollaborationMode | None]


class Compacted(TypedDict):
    """A compaction. replacement_history: what the model sees from now on; absent: `message`."""

    message: str
    replacement_history: NotRequired[Sequence[ModelItemLine] | None]


class ErrorLine(TypedDict):
    """Why a turn failed."""

    message: str
    codex_error_info: NotRequired[CodexErrorInfo | None]


TokenCountsLine = Mapping[str, int]


class TokenInfo(TypedDict):
    """The tokens that a thread has used."""

    total_token_usage: TokenCountsLine
    last_token_usage: TokenCountsLine
    last_usage_includes_reasoning: NotRequired[bool]
    model_context_window: NotRequired[int | None]


class Event(TypedDict):
    """An `event_msg`, by its type.

    Shape: task_started | turn_started:   {"turn_id"?, "root_turn_id", "started_at", "model_context_window", …}
           task_complete | turn_complete: {"turn_id", "error"?, "last_agent_message", …}
           turn_aborted:                  {"turn_id", "reason", …}
           item_completed:                {"item", "completed_at_ms", "started_at_ms"?, "thread_id", "turn_id"}
           user_message (legacy files):   {"message", "text_elements"?, "images"?, "local_images"?}
           thread_name_updated:           {"thread_id", "thread_name"?}
           token_count:                   {"info"?, "rate_limits"}
    Units: *_ms Unix ms; started_at, completed_at Unix s
    """

    type: str
    turn_id: NotRequired[str]
    root_turn_id: NotRequired[str]
    thread_id: NotRequired[str]
    started_at: NotRequired[int]
    completed_at: NotRequired[int]
    duration_ms: NotRequired[int]
    model_context_window: NotRequired[int | None]
    collaboration_mode_kind: NotRequired[str]
    reason: NotRequired[str]
    last_agent_message: NotRequired[str | None]
    error: NotRequired[ErrorLine | None]
    item: NotRequired[ItemLine]
    started_at_ms: NotRequired[int | None]
    completed_at_ms: NotRequired[int]
    message: NotRequired[str]
    text_elements: NotRequired[Sequence[object] | None]
    images: NotRequired[Sequence[str] | None]
    local_images: NotRequired[Sequence[str] | None]
    thread_name: NotRequired[str | None]
    info: NotRequired[TokenInfo | None]
    rate_limits: NotRequired[None]


Payload = SessionMeta | TurnContext | Compacted | Event | ModelItemLine
LineType = Literal["session_meta", "turn_context", "compacted", "event_msg", "response_item"]


def timestamp(at_ms: int) -> str:
    """Return Unix ms as a line's timestamp, such as 2026-11-22T10:58:10.044Z."""
    at = datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_ms(text: str) -> int:
    """Return a line's timestamp as Unix ms. Errors: ValueError."""
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)
