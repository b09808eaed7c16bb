"""The tools of the MCP server. The names and arguments of `codex` and `codex-reply` are those of `codex mcp-server`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from mcp.types import CallToolResult, TextContent, Tool, ToolAnnotations
from pydantic import AliasGenerator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.json_schema import SkipJsonSchema

from api.cli.client import Client
from api.cli.exec_events import members_of

MAX_TEXT = 4_000  # characters of one text in a result: a model reads it

Optional = SkipJsonSchema[None]
CodexAlias = AliasGenerator(validation_alias=lambda name: name.replace("_", "-"))


class CodexArguments(BaseModel):
    """The arguments of `codex`."""

    model_config = ConfigDict(alias_generator=CodexAlias)

    prompt: str = Field(min_length=1, description="The first message to the agent.")
    cwd: str | Optional = Field(
        None,
        description="Folder to work in, on the server's machine. Relative to the current folder if the server runs on "
        "this machine; otherwise absolute. Default: the current folder, or a new folder on a server elsewhere.",
    )
    model: str | Optional = Field(None, description="Model to use. Default: the server's.")
    sandbox: Literal["read-only", "workspace-write", "danger-full-access"] | Optional = Field(
        None, description="What commands may read and write. Default: the server's."
    )
    approval_policy: Literal["untrusted", "on-request", "never"] | Optional = Field(
        None,
        description="When the user is asked before a command or a patch runs. Default: the server's. A client without "
        "elicitation cannot ask: it should use `never`.",
    )
    base_instructions: str | Optional = Field(None, description="Instructions in place of the server's own.")
    developer_instructions: str | Optional = Field(None, description="Instructions in a developer message.")
    config: dict[str, Any] | Optional = Field(
        None, description="More settings of the thread, by their names in config.toml."
    )

    def thread_settings(self) -> Mapping[str, object]:
        """Return the params of thread/start."""
        given = {
            "cwd": self.cwd,
            "model": self.model,
            "sandbox": self.sandbox,
            "approvalPolicy": self.approval_policy,
            "baseInstructions": self.base_instructions,
            "developerInstructions": self.developer_instructions,
            "config": self.config,
        }
        return {name: value for name, value in given.items() if value is not None}


class ReplyArguments(BaseModel):
    """The arguments of `codex-reply`."""

    prompt: str = Field(min_length=1, description="The next message to the agent.")
    threadId: str | Optional = Field(None, description="The threadId that `codex` has returned. Required.")
    conversationId: str | Optional = Field(None, description="Deprecated: use threadId.")


class ListArguments(BaseModel):
    """The arguments of `codex-list`."""

    limit: int = Field(20, ge=1, le=100, description="How many threads to return: 1 to 100, by default 20.")
    cursor: str | Optional = Field(None, description="nextCursor of another page.")
    searchTerm: str | Optional = Field(None, description="Characters of the name or of the first message.")
    archived: bool = Field(False, description="Whether to list archived threads instead of the others.")


class ReadArguments(BaseModel):
    """The arguments of `codex-read`."""

    threadId: str = Field(description="The thread to read.")
    limit: int = Field(5, ge=1, le=50, description="How many turns to return: 1 to 50, by default 5, the last ones.")
    cursor: str | Optional = Field(None, description="nextCursor of another page, which has earlier turns.")


def _schema(arguments: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of arguments, without the titles and defaults that say nothing to a model."""
    schema = arguments.model_json_schema()
    properties = {
        name: {key: value for key, value in found.items() if key != "title" and (key, value) != ("default", None)}
        for name, found in schema["properties"].items()
    }
    return {"type": "object", "properties": properties, "required": schema.get("required", [])}


def _text(description: str) -> Mapping[str, object]:
    return {"type": "string", "description": description}


TURN_RESULT = {
    "type": "object",
    "properties": {"threadId": _text("For `codex-reply`."), "content": _text("The agent's last message.")},
    "required": ["threadId", "content"],
}
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)

CODEX = Tool(
    name="codex",
    title="Codex",
    description="Start a thread: a coding agent works on the prompt until it is done. Returns its last message, and "
    "the threadId with which `codex-reply` goes on.",
    input_schema=_schema(CodexArguments),
    output_schema=TURN_RESULT,
)
CODEX_REPLY = Tool(
    name="codex-reply",
    title="Codex Reply",
    description="Send the next message to a thread, and return the agent's last message. While the thread works, the "
    "message joins what it works on.",
    input_schema=_schema(ReplyArguments),
    output_schema=TURN_RESULT,
)
CODEX_LIST = Tool(
    name="codex-list",
    title="Codex Threads",
    description="List the threads, the one used last first.",
    input_schema=_schema(ListArguments),
    annotations=READS,
)
CODEX_READ = Tool(
    name="codex-read",
    title="Codex Thread",
    description="Read a thread: its status, and the messages, commands and patches of its last turns.",
    input_schema=_schema(ReadArguments),
    annotations=READS,
)


def describe_errors(error: ValidationError) -> str:
    """Return what is wrong with the arguments, in one line each."""
    return "\n".join(f"{found['loc'][0]}: {found['msg']}" for found in error.errors())


def data_result(data: Mapping[str, object]) -> CallToolResult:
    """Return a result with these data, as an object and as JSON."""
    text = json.dumps(data, ensure_ascii=False)
    return CallToolResult(content=[TextContent(text=text)], structured_content=dict(data))


def list_threads(client: Client, arguments: ListArguments) -> Mapping[str, object]:
    """Return a page of threads. Errors: those of Client."""
    params = {**arguments.model_dump(exclude_none=True), "sortKey": "recency_at"}
    page = client.call("thread/list", params)
    return {"threads": [_thread(thread) for thread in page["data"]], "nextCursor": page["nextCursor"]}


def read_thread(client: Client, arguments: ReadArguments) -> Mapping[str, object]:
    """Return a thread and a page of its turns, the earliest one first. Errors: those of Client."""
    thread = client.call("thread/read", {"threadId": arguments.threadId})["thread"]
    if not thread["preview"]:
        return {**_thread(thread), "turns": [], "nextCursor": None}  # no message yet, so no turn that a page could have
    params = {**arguments.model_dump(exclude_none=True), "sortDirection": "desc", "itemsView": "full"}
    page = client.call("thread/turns/list", params)
    turns = [_turn(turn) for turn in reversed(page["data"])]
    return {**_thread(thread), "turns": turns, "nextCursor": page["nextCursor"]}


def shorten(text: str, limit: int = MAX_TEXT) -> str:
    """Return the beginning of a text, and how much is missing."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"


def _thread(thread: Any) -> dict[str, object]:
    return {
        "threadId": thread["id"],
        "name": thread["name"],
        "preview": shorten(thread["preview"], 200),
        "cwd": thread["cwd"],
        "status": thread["status"]["type"],
        "updatedAt": thread["updatedAt"],
    }


def _turn(turn: Any) -> Mapping[str, object]:
    items = [members for item in turn["items"] if (members := _item(item)) is not None]
    error = turn["error"] and turn["error"]["message"]
    return {"turnId": turn["id"], "status": turn["status"], "error": error, "items": items}


def _item(item: Any) -> Mapping[str, object] | None:
    """Return an item as `codex exec --json` shows it; it leaves out the messages of the user."""
    if item["type"] == "userMessage":
        text = "\n".join(part["text"] for part in item["content"] if part["type"] == "text")
        return {"type": "user_message", "text": shorten(text)}
    members = members_of(item)
    if members is None:
        return None
    return {name: shorten(value) if isinstance(value, str) else value for name, value in members.items()}
