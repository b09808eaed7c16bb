"""A thread as clients see it: the Thread object, its goal, its settings and the result that begins a session."""

from __future__ import annotations

from collections.abc import Sequence

from shared.protocol.sandbox_modes import PROFILE_OF_POLICY_TYPE
from shared.protocol.settings import CollaborationMode
from shared.protocol.thread import (
    CODEX_VERSION,
    Environment,
    SessionMembers,
    SettingsObject,
    ThreadGoal,
    ThreadObject,
)
from shared.protocol.turn import TurnObject
from shared.store.threads import Thread


def thread_object(thread: Thread, turns: Sequence[TurnObject] = ()) -> ThreadObject:
    """Return the Thread object (PROTOCOL 3.1). turns: for methods whose result shows them."""
    settings, loaded = thread.settings, thread.loaded
    environment: Environment = {
        "environmentId": "local",
        "cwd": settings["cwd"],
        "runtimeWorkspaceRoots": [settings["cwd"]],
    }
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
        "environments": [environment] if loaded else None,
        "canAcceptDirectInput": True if loaded else None,
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


def goal_object(thread: Thread, time_used_ms: int) -> ThreadGoal | None:
    """Return the thread's goal with what was used since it was set. time_used_ms: by turns that began since then."""
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
    """Return how many tokens the thread has used in all."""
    return thread.token_usage["total"]["totalTokens"] if thread.token_usage else 0


def thread_settings(thread: Thread) -> SettingsObject:
    """Return `threadSettings` of thread/settings/updated (PROTOCOL section 6)."""
    settings = thread.settings
    profile = PROFILE_OF_POLICY_TYPE.get(settings["sandboxPolicy"]["type"])
    return {
        "model": settings["model"],
        "modelProvider": settings["modelProvider"],
        "cwd": settings["cwd"],
        "approvalPolicy": settings["approvalPolicy"],
        "approvalsReviewer": settings["approvalsReviewer"],
        "sandboxPolicy": settings["sandboxPolicy"],
        "effort": settings.get("effort"),
        "summary": settings.get("summary"),
        "serviceTier": settings.get("serviceTier"),
        "personality": settings.get("personality"),
        "collaborationMode": settings.get("collaborationMode") or default_mode(thread),
        # The terminal client holds every prompt back until the profile that it asked for is named here.
        "activePermissionProfile": {"id": profile, "extends": None} if profile else None,
        "disabledPluginIds": [],
        "environments": None,
    }


def default_mode(thread: Thread) -> CollaborationMode:
    """Return the collaborationMode of a thread that has none chosen; clients drop settings that lack one."""
    settings = thread.settings
    return {
        "mode": "default",
        "settings": {
            "model": settings["model"],
            "reasoning_effort": settings.get("effort"),
            "developer_instructions": None,
        },
    }


def session_result(thread: Thread, turns: Sequence[TurnObject] = ()) -> SessionMembers:
    """Return the members of api.requests.results.SessionResult."""
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
        "instruction_sources": settings.get("instructionSources") or [],
        "disabled_plugin_ids": [],
        "multi_agent_mode": "explicitRequestOnly",
    }
