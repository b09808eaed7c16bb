"""The events of `exec --json`: those that `codex exec --json` prints, made from the notifications of a turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from api.cli.client import EventData

ExecEvent = dict[str, Any]

STATUSES = {"inProgress": "in_progress"}  # the others have the same name
COUNTS = {
    "input_tokens": "inputTokens",
    "cached_input_tokens": "cachedInputTokens",
    "cache_write_input_tokens": "cacheWriteInputTokens",
    "output_tokens": "outputTokens",
    "reasoning_output_tokens": "reasoningOutputTokens",
}


class ExecEvents:
    """Converts the notifications of one turn. Items get the ids item_0, item_1, … in the order of their appearance."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}  # of the items that have begun, by the server's ids
        self._count = 0
        self._turn_started = False
        self._plan: ExecEvent | None = None  # the item of the plan, which is open until the turn ends
        self._usage = dict.fromkeys(COUNTS, 0)

    def convert(self, event: EventData) -> Iterator[ExecEvent]:
        """Yield what the notification means; nothing for those that the original does not show."""
        params: Any = event.get("params", {})
        match event.get("method"):
            case "thread/started":
                yield {"type": "thread.started", "thread_id": params["thread"]["id"]}
            case "warning" | "guardianWarning":
                yield self._error_item(params["message"])
            case "configWarning" | "deprecationNotice":
                yield self._error_item(_with_details(params["summary"], params.get("details")))
            case "thread/tokenUsage/updated":
                total = params["tokenUsage"]["total"]
                self._usage = {name: total.get(wire, 0) for name, wire in COUNTS.items()}
            case str(method):
                yield from self._turn_event(method, params)

    def _turn_event(self, method: str, params: Any) -> Iterator[ExecEvent]:
        if not self._turn_started:
            self._turn_started = True
            yield {"type": "turn.started"}
        match method:
            case "item/started":
                yield from self._item_started(params["item"])
            case "item/completed":
                yield from self._item_completed(params["item"])
            case "turn/plan/updated":
                yield self._plan_updated(params["plan"])
            case "error":
                error = params["error"]
                yield {"type": "error", "message": _with_details(error["message"], error.get("additionalDetails"))}
            case "turn/completed":
                yield from self._turn_completed(params["turn"])

    def _item_started(self, item: Any) -> Iterator[ExecEvent]:
        if item["type"] not in ("agentMessage", "reasoning") and (members := members_of(item)) is not None:
            self._ids[item["id"]] = self._next_id()
            yield {"type": "item.started", "item": {"id": self._ids[item["id"]], **members}}

    def _item_completed(self, item: Any) -> Iterator[ExecEvent]:
        if (members := members_of(item)) is not None:
            yield {
                "type": "item.completed",
                "item": {"id": self._ids.pop(item["id"], "") or self._next_id(), **members},
            }

    def _plan_updated(self, plan: Sequence[Any]) -> ExecEvent:
        kind = "item.started" if self._plan is None else "item.updated"
        item_id = self._next_id() if self._plan is None else self._plan["id"]
        steps = [{"text": step["step"], "completed": step["status"] == "completed"} for step in plan]
        self._plan = {"id": item_id, "type": "todo_list", "items": steps}
        return {"type": kind, "item": self._plan}

    def _turn_completed(self, turn: Any) -> Iterator[ExecEvent]:
        if self._plan is not None:
            yield {"type": "item.completed", "item": self._plan}
        if turn["status"] == "completed":
            yield {"type": "turn.completed", "usage": self._usage}
        else:
            error = turn.get("error") or {"message": "the turn was interrupted"}
            yield {"type": "turn.failed", "error": {"message": error["message"]}}

    def _error_item(self, message: str) -> ExecEvent:
        return {"type": "item.completed", "item": {"id": self._next_id(), "type": "error", "message": message}}

    def _next_id(self) -> str:
        self._count += 1
        return f"item_{self._count - 1}"


def members_of(item: Any) -> ExecEvent | None:
    """Return the members of an item without its id, as `codex exec --json` names them; None: it is not shown."""
    match item["type"]:
        case "agentMessage":
            return {"type": "agent_message", "text": item["text"]}
        case "reasoning" if any(part.strip() for part in item["summary"]):
            return {"type": "reasoning", "text": "\n".join(item["summary"])}
        case "commandExecution":
            return {
                "type": "command_execution",
                "command": item["command"],
                "aggregated_output": item["aggregatedOutput"] or "",
                "exit_code": item["exitCode"],
                "status": _status(item),
            }
        case "fileChange":
            changes = [{"path": change["path"], "kind": change["kind"]["type"]} for change in item["changes"]]
            status = "failed" if item["status"] == "declined" else _status(item)
            return {"type": "file_change", "changes": changes, "status": status}
        case "mcpToolCall":
            result, error = item.get("result"), item.get("error")
            return {
                "type": "mcp_tool_call",
                "server": item["server"],
                "tool": item["tool"],
                "arguments": item["arguments"],
                "result": result
                and {
                    "content": result["content"],
                    "structured_content": result.get("structuredContent"),
                },
                "error": error and {"message": error["message"]},
                "status": _status(item),
            }
        case "webSearch":
            return {"type": "web_search", "query": item["query"], "action": item.get("action") or {"type": "other"}}
    return None


def _status(item: Mapping[str, Any]) -> str:
    status: str = item["status"]
    return STATUSES.get(status, status)


def _with_details(message: str, details: str | None) -> str:
    return f"{message} ({details})" if details else message
