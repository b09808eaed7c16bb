"""Requests that the server sends to a thread's clients, and the answers (PROTOCOL section 8).

Params are written here without `threadId` and `turnId`: the worker that sends the request adds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NotRequired, TypedDict

from shared.protocol.items import CommandAction

COMMAND_APPROVAL = "item/commandExecution/requestApproval"
PATCH_APPROVAL = "item/fileChange/requestApproval"
USER_INPUT = "item/tool/requestUserInput"
TOOL_CALL = "item/tool/call"
ELICITATION = "mcpServer/elicitation/request"


class ExecpolicyAmendment(TypedDict):
    """execpolicy_amendment: the first words of commands that run without approval from now on."""

    execpolicy_amendment: Sequence[str]


class AcceptWithAmendment(TypedDict):
    """The decision to run a command and to allow its first words from now on."""

    acceptWithExecpolicyAmendment: ExecpolicyAmendment


# A string is "accept", "acceptForSession", "decline" or "cancel". Anything else that a client sends is a denial.
ApprovalDecision = str | AcceptWithAmendment


class CommandApprovalParams(TypedDict):
    """item/commandExecution/requestApproval: may this command run? (PROTOCOL 8.1)"""

    kind: Literal["command"]
    environmentId: str
    command: str
    cwd: str
    commandActions: Sequence[CommandAction]
    availableDecisions: Sequence[ApprovalDecision]
    reason: NotRequired[str]
    proposedExecpolicyAmendment: NotRequired[Sequence[str]]


class PatchApprovalParams(TypedDict):
    """item/fileChange/requestApproval: may this patch be applied? (PROTOCOL 8.2)"""

    reason: str | None
    grantRoot: None


class QuestionOption(TypedDict):
    """One choice of a question."""

    label: str
    description: str


class Question(TypedDict):
    """A question of the model to the user. options: None when the answer is free text only."""

    id: str
    header: str
    question: str
    isOther: bool
    isSecret: bool
    options: Sequence[QuestionOption] | None


class UserInputParams(TypedDict):
    """item/tool/requestUserInput: questions of the model (PROTOCOL 8.3)."""

    itemId: str
    questions: Sequence[Question]
    isBlocking: bool
    autoResolutionMs: None


class ToolCallParams(TypedDict):
    """item/tool/call: a call of a tool that the client has (PROTOCOL 8.4)."""

    callId: str
    namespace: str | None
    tool: str
    arguments: object


class ElicitationParams(TypedDict):
    """mcpServer/elicitation/request: a question of an MCP server, or whether a tool of it may be called.

    _meta: of an approval {"codex_approval_kind": "mcp_tool_call", "persist"?, "tool_name", …}; null: the server asks
    requestedSchema: of mode "form"; url, elicitationId: of mode "url"
    Answer: {"action": "accept" | "decline" | "cancel", "content", "_meta": {"persist": "session" | "always"} | null}
    """

    serverName: str
    environmentId: None
    mode: Literal["form", "url"]
    _meta: Mapping[str, object] | None
    message: str
    requestedSchema: NotRequired[Mapping[str, object]]
    url: NotRequired[str]
    elicitationId: NotRequired[str]


ServerRequestParams = CommandApprovalParams | PatchApprovalParams | UserInputParams | ToolCallParams | ElicitationParams
ClientAnswer = Mapping[str, object]  # whatever a client sent as `result`, or {"error": …}; to be read with suspicion
