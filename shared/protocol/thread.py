"""A thread as clients see it, and the settings of its sessions (PROTOCOL 3.1, 5.1, 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.store.threads import Thread

CODEX_VERSION = "0.169.0"  # the version of the protocol that we speak; clients compare it
SOURCE = "vscode"  # what the original says of every thread that is made over the protocol
NO_SETTINGS: dict[str, Any] = {
    "effort": None,
    "summary": None,
    "serviceTier": None,
    "personality": None,
}
PROFILES = {"readOnly": ":read-only", "workspaceWrite": ":workspace", "dangerFullAccess": ":danger-full-access"}


def thread_object(thread: Thread, turns: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Thread of PROTOCOL 3.1, every nullable key present. turns: Turn objects, where the method answers with them."""
    settings = thread.settings
    environment = {"environmentId": "local", "cwd": settings["cwd"], "runtimeWorkspaceRoots": [settings["cwd"]]}
    return {
        "id": thread.id,
        "sessionId": thread.session_id,
        "preview": thread.preview,
        "name": thread.name,
        "ephemeral": thread.ephemeral,
        "historyMode": thread.history_mode or "legacy",
        "modelProvider": settings["modelProvider"],
        "model": settings["model"],
        "reasoningEffort": settings.get("effort"),
        "createdAt": thread.created_at_ms // 1000,
        "updatedAt": thread.updated_at_ms // 1000,
        "recencyAt": thread.recency_at_ms // 1000,
        "status": thread.status(),
        "path": None,
        "cwd": settings["cwd"],
        "cliVersion": CODEX_VERSION,
        "originator": thread.originator,
        "source": thread.source,
        "threadSource": thread.thread_source,
        "forkedFromId": thread.forked_from_id,
        "parentThreadId": None,
        "attachedToThreadId": None,
        "environments": [environment] if thread.loaded else None,
        "canAcceptDirectInput": True if thread.loaded else None,
        "gitInfo": thread.git_info,
        "agentNickname": None,
        "agentRole": None,
        "section": None,
        "sectionEnteredAt": None,
        "projectId": None,
        "daybreakEnabled": None,
        "extra": None,
        "turns": list(turns),
    }


def goal_object(thread: Thread, time_used_ms: int) -> dict[str, Any] | None:
    """ThreadGoal: what was said of it, and what was used since. time_used_ms: by turns begun since then."""
    goal = thread.goal
    if goal is None:
        return None
    return {
        "threadId": thread.id,
        "objective": goal["objective"],
        "status": goal["status"],
        "tokenBudget": goal["tokenBudget"],
        "tokensUsed": max(0, total_tokens(thread) - goal["tokensBefore"]),
        "timeUsedSeconds": time_used_ms // 1000,
        "createdAt": goal["createdAtMs"] // 1000,
        "updatedAt": goal["updatedAtMs"] // 1000,
    }


def total_tokens(thread: Thread) -> int:
    """All that the thread has used."""
    return int(thread.token_usage["total"]["totalTokens"]) if thread.token_usage else 0


def thread_settings(thread: Thread) -> dict[str, Any]:
    """threadSettings of thread/settings/updated (PROTOCOL section 6)."""
    shown = ("model", "modelProvider", "cwd", "approvalPolicy", "approvalsReviewer", "sandboxPolicy")
    profile = PROFILES.get(thread.settings["sandboxPolicy"]["type"])
    return {
        **{name: thread.settings[name] for name in shown},
        **{name: thread.settings.get(name) for name in NO_SETTINGS},
        "collaborationMode": thread.settings.get("collaborationMode") or default_mode(thread),
        # The terminal client holds every prompt back until the profile that it asked for is named here.
        "activePermissionProfile": {"id": profile, "extends": None} if profile else None,
        "disabledPluginIds": [],
        "environments": None,
    }


def default_mode(thread: Thread) -> dict[str, Any]:
    """collaborationMode of a thread that nobody has chosen one for; clients drop settings that have none."""
    settings = {"model": thread.settings["model"], "reasoning_effort": thread.settings.get("effort")}
    return {"mode": "default", "settings": {**settings, "developer_instructions": None}}


def session_result(thread: Thread, turns: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """What thread/start, thread/resume and thread/fork answer with (PROTOCOL 5.1), by the names of Python."""
    settings = thread.settings
    return {
        "thread": thread_object(thread, turns),
        "model": settings["model"],
        "model_provider": settings["modelProvider"],
        "service_tier": settings.get("serviceTier"),
        "cwd": settings["cwd"],
        "runtime_workspace_roots": [settings["cwd"]],
        "approval_policy": settings["approvalPolicy"],
        "approvals_reviewer": settings["approvalsReviewer"],
        "sandbox": settings["sandboxPolicy"],
        "active_permission_profile": None,
        "reasoning_effort": settings.get("effort"),
        "instruction_sources": [],
        "disabled_plugin_ids": [],
        "multi_agent_mode": "explicitRequestOnly",
    }
