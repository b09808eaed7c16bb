"""Results that several methods share.

A Result is a frozen dataclass. Its members hold what goes over the wire, as shared.protocol makes it; the OpenAPI
schema is made from the types (api.requests.schemas) and costs nothing when a request is answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from shared.protocol.items import WireItem
from shared.protocol.settings import ApprovalPolicy, SandboxPolicy
from shared.protocol.thread import ThreadObject
from shared.protocol.turn import TurnObject


@dataclass(frozen=True)
class Empty:
    """An empty object."""


@dataclass(frozen=True)
class SessionResult:
    """A thread and the settings in force.

    runtime_workspace_roots: the folders that the agent works in
    reasoning_effort: null: the model's default
    instruction_sources: the AGENTS.md files that the model gets; empty when no worker is free to look for them
    disabled_plugin_ids: always empty: this server has no plugins
    Source: PROTOCOL 5.1
    """

    thread: ThreadObject
    model: str
    model_provider: str
    service_tier: str | None
    cwd: str
    runtime_workspace_roots: Sequence[str]
    approval_policy: ApprovalPolicy
    approvals_reviewer: str
    sandbox: SandboxPolicy
    active_permission_profile: None
    reasoning_effort: str | None
    instruction_sources: Sequence[str]
    disabled_plugin_ids: Sequence[str]
    multi_agent_mode: str


@dataclass(frozen=True)
class ThreadResult:
    """The thread after the change."""

    thread: ThreadObject


@dataclass(frozen=True)
class ThreadsPage:
    """Threads, without their turns.

    next_cursor: continues the list; null at its end
    backwards_cursor: with the other sortDirection, continues before the first entry of this page
    """

    data: Sequence[ThreadObject]
    next_cursor: str | None
    backwards_cursor: str | None


@dataclass(frozen=True)
class TurnsPage:
    """Turns, with the items that `itemsView` asks for.

    next_cursor: continues the list; null at its end
    backwards_cursor: with the other sortDirection, a page that begins with the first entry of this page
    """

    data: Sequence[TurnObject]
    next_cursor: str | None
    backwards_cursor: str | None


class ItemEntry(TypedDict):
    """A completed item, its turn, and its times in Unix milliseconds."""

    turnId: str
    item: WireItem
    startedAtMs: int | None
    completedAtMs: int | None


@dataclass(frozen=True)
class ItemsPage:
    """Completed items.

    next_cursor: continues the list; null at its end
    backwards_cursor: with the other sortDirection, a page that begins with the first entry of this page
    """

    data: Sequence[ItemEntry]
    next_cursor: str | None
    backwards_cursor: str | None
