"""Items as clients see them (PROTOCOL 3.3): the typed members of each kind.

`ThreadItem` is an item without its id and times; these are columns of the stored row and are added by `wire_item`.
A thread that was imported from elsewhere may hold kinds that this server never makes; they are passed on unread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

from shared.protocol.user_input import UserInput
from shared.protocol.web_search import WebSearch

ItemStatus = Literal["inProgress", "completed", "failed", "declined"]


class UserMessage(TypedDict):
    """What a user sent. clientId: the client's `clientUserMessageId`."""

    type: Literal["userMessage"]
    clientId: str | None
    content: Sequence[UserInput]


class AgentMessage(TypedDict):
    """A message of the model. phase: "commentary", "partial_answer", "final_answer" or None."""

    type: Literal["agentMessage"]
    text: str
    phase: str | None
    moderation: None
    memoryCitation: None
    delivery: None
    questions: None


class Reasoning(TypedDict):
    """Reasoning of the model. summary, content: texts of its parts."""

    type: Literal["reasoning"]
    summary: Sequence[str]
    content: Sequence[str]


class CommandAction(TypedDict):
    """What a part of a command does, as far as it can be recognized.

    Shape: {"type": "read", "command", "name", "path"} | {"type": "listFiles", "command", "path"}
           | {"type": "search", "command", "query", "path"} | {"type": "unknown", "command"}
    """

    type: Literal["read", "listFiles", "search", "unknown"]
    command: str
    name: NotRequired[str]
    path: NotRequired[str | None]
    query: NotRequired[str | None]


class CommandExecution(TypedDict):
    """A command that ran, or runs, in the thread's workspace.

    command: the words of the command, quoted for a shell
    source:  "agent", "userShell", "unifiedExecStartup" or "unifiedExecInteraction"
    """

    type: Literal["commandExecution"]
    command: str
    cwd: str
    processId: str | None
    source: str
    status: ItemStatus
    commandActions: Sequence[CommandAction]
    aggregatedOutput: str | None
    exitCode: int | None
    durationMs: int | None
    pluginId: None
    scriptPath: None


class FileChangeKind(TypedDict):
    """Shape: {"type": "add"} | {"type": "delete"} | {"type": "update", "move_path": absolute path|null}"""

    type: Literal["add", "delete", "update"]
    move_path: NotRequired[str | None]


class FileUpdate(TypedDict):
    """The change of one file.

    path: absolute
    diff: the whole content of a file that is added or deleted; unified hunks without file headers for an update
    """

    path: str
    kind: FileChangeKind
    diff: str


class FileChange(TypedDict):
    """A patch."""

    type: Literal["fileChange"]
    changes: Sequence[FileUpdate]
    status: ItemStatus


class DynamicToolCall(TypedDict):
    """A call of a tool that the client has. contentItems: what the client answered, as it sent it."""

    type: Literal["dynamicToolCall"]
    namespace: str | None
    tool: str
    arguments: object
    status: ItemStatus
    contentItems: Sequence[object] | None
    success: bool | None
    durationMs: int | None


class McpToolCallError(TypedDict):
    """Why a call has no result."""

    message: str


class McpToolCall(TypedDict):
    """A call of a tool of an MCP server, or a look at a server's resources.

    tool:         its name at the server
    readOnlyHint: whether it says that it changes nothing; null: it does not say
    result:       {"content", "structuredContent", "_meta"} as the server sent it, unless that is too large
    """

    type: Literal["mcpToolCall"]
    server: str
    environmentId: None
    tool: str
    status: ItemStatus
    arguments: object
    appContext: None
    mcpAppUi: None
    pluginId: None
    readOnlyHint: bool | None
    result: Mapping[str, object] | None
    error: McpToolCallError | None
    durationMs: int | None


class ImageView(TypedDict):
    """An image that the model looked at. path: absolute."""

    type: Literal["imageView"]
    path: str


class Plan(TypedDict):
    """A plan that the model proposed in plan mode."""

    type: Literal["plan"]
    text: str


class ReviewMode(TypedDict):
    """The begin or the end of a review. review: what is reviewed, or what the reviewer found."""

    type: Literal["enteredReviewMode", "exitedReviewMode"]
    review: str


class ContextCompaction(TypedDict):
    """The history was replaced by a summary here."""

    type: Literal["contextCompaction"]


class HookFragment(TypedDict):
    """What one Stop hook asks for. hookRunId: the id of its run (hook/completed)"""

    text: str
    hookRunId: str


class HookPrompt(TypedDict):
    """Stop hooks let the turn go on with what they ask for."""

    type: Literal["hookPrompt"]
    fragments: Sequence[HookFragment]


ThreadItem = (
    UserMessage
    | AgentMessage
    | Reasoning
    | CommandExecution
    | FileChange
    | DynamicToolCall
    | McpToolCall
    | ImageView
    | WebSearch
    | Plan
    | ReviewMode
    | ContextCompaction
    | HookPrompt
)


class ItemRow(TypedDict):
    """What every item has on the wire. Times are Unix milliseconds.

    startedAtMs:   null for an item that was imported
    completedAtMs: null while the item is in progress
    """

    id: str
    startedAtMs: int | None
    completedAtMs: int | None


WireItem = Annotated[Mapping[str, object], ThreadItem, ItemRow]  # the members of both
ToolItem = CommandExecution | FileChange | DynamicToolCall | McpToolCall | ImageView | WebSearch


def agent_message(text: str, phase: str | None = None) -> AgentMessage:
    """Return an agentMessage with the members that this server never fills set to null."""
    return {
        "type": "agentMessage",
        "text": text,
        "phase": phase,
        "moderation": None,
        "memoryCitation": None,
        "delivery": None,
        "questions": None,
    }


def with_status(item: ThreadItem, status: ItemStatus) -> ThreadItem:
    """Return a copy of the item with another status; an item of a kind that has no status is returned as it is."""
    return cast(ThreadItem, {**item, "status": status}) if "status" in item else item


def wire_item(item: ThreadItem, item_id: str, started_at_ms: int | None, completed_at_ms: int | None) -> WireItem:
    """Return the item with its id and times, as clients see it."""
    return {**item, "id": item_id, "startedAtMs": started_at_ms, "completedAtMs": completed_at_ms}


def message_text(item: Mapping[str, Any]) -> str:
    """Return the text of a userMessage or an agentMessage."""
    if "content" in item:
        return "\n".join(part["text"] for part in item["content"] if part["type"] == "text")
    text: str = item.get("text", "")
    return text
