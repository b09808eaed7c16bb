"""A thread on the wire: the objects of PROTOCOL 3.1, 5.1 and 6, and the constants that clients compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NotRequired, TypedDict

from marshmallow import validate

from shared.protocol.settings import ApprovalPolicy, CollaborationMode, SandboxPolicy
from shared.protocol.turn import TurnObject

CODEX_VERSION = "0.171.0"  # the version of the protocol that this server speaks; clients compare it
SOURCE = "vscode"  # the `source` that the original gives to every thread that is made over the protocol
INTERACTIVE_SOURCES = ("cli", "vscode")  # what lists and searches have without `sourceKinds`
SUB_AGENT_SOURCES = ("subAgent", "subAgentReview", "subAgentCompact", "subAgentThreadSpawn", "subAgentOther")
SOURCES = (*INTERACTIVE_SOURCES, "exec", "appServer", *SUB_AGENT_SOURCES, "unknown")

GOAL_STATUSES = ("active", "paused", "blocked", "usageLimited", "budgetLimited", "complete")


class ThreadStatus(TypedDict):
    """Whether a turn of the thread is active.

    type:        "notLoaded": not used recently; "systemError": the last turn failed
    activeFlags: only of an active thread: what its turn waits for, "waitingOnApproval" or "waitingOnUserInput"
    """

    type: Annotated[str, validate.OneOf(("notLoaded", "idle", "active", "systemError"))]
    activeFlags: NotRequired[Sequence[str]]


class GitInfo(TypedDict):
    """The commit of the thread's workspace."""

    sha: str | None
    branch: str | None
    originUrl: str | None


class StoredGoal(TypedDict):
    """A thread's goal as the store has it. tokensBefore: what the thread had used when the goal was set."""

    objective: str
    status: str
    tokenBudget: int | None
    tokensBefore: int
    createdAtMs: int
    updatedAtMs: int


class ThreadGoal(TypedDict):
    """A thread's goal as clients see it, with what was used since it was set. createdAt, updatedAt: Unix seconds."""

    threadId: str
    objective: str
    status: Annotated[str, validate.OneOf(GOAL_STATUSES)]
    tokenBudget: int | None
    tokensUsed: int
    timeUsedSeconds: int
    createdAt: int
    updatedAt: int


class Environment(TypedDict):
    """Where a thread works."""

    environmentId: str
    cwd: str
    runtimeWorkspaceRoots: Sequence[str]


class ThreadObject(TypedDict):
    """A thread; every key is present, and members that are always null have no meaning on this server.

    preview:      the beginning of the first message
    ephemeral:    whether the thread is left out of lists and removed when it is idle
    reasoningEffort: null: the model's default
    createdAt, updatedAt, recencyAt: Unix seconds
    cwd:          the folder that the agent works in
    cliVersion:   the version of the protocol
    originator:   name of the client that created the thread
    threadSource: a label of the client that created the thread
    forkedFromId: the thread that this one is a copy of
    environments: where the thread works; null while it is not loaded
    turns:        empty, unless the method answers with turns
    Source:       PROTOCOL 3.1
    """

    id: str
    sessionId: str
    preview: str
    name: str | None
    ephemeral: bool
    historyMode: str
    modelProvider: str
    model: str
    reasoningEffort: str | None
    createdAt: int
    updatedAt: int
    recencyAt: int
    status: ThreadStatus
    path: None
    cwd: str
    cliVersion: str
    originator: str | None
    source: str
    threadSource: str | None
    forkedFromId: str | None
    parentThreadId: None
    attachedToThreadId: None
    environments: Sequence[Environment] | None
    canAcceptDirectInput: bool | None
    gitInfo: GitInfo | None
    agentNickname: None
    agentRole: None
    section: None
    sectionEnteredAt: None
    projectId: None
    daybreakEnabled: None
    extra: None
    turns: Sequence[TurnObject]


class ActiveProfile(TypedDict):
    """The permission profile in force."""

    id: str
    extends: None


class SettingsObject(TypedDict):
    """`threadSettings` of thread/settings/updated (PROTOCOL section 6)."""

    model: str
    modelProvider: str
    cwd: str
    approvalPolicy: ApprovalPolicy
    approvalsReviewer: str
    sandboxPolicy: SandboxPolicy
    effort: str | None
    summary: str | None
    serviceTier: str | None
    personality: str | None
    collaborationMode: CollaborationMode
    activePermissionProfile: ActiveProfile | None
    disabledPluginIds: Sequence[str]
    environments: None


class SessionMembers(TypedDict):
    """The result of thread/start, thread/resume and thread/fork (PROTOCOL 5.1), under the names of its schema."""

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
