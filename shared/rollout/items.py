"""An item as clients see it ⇄ the item of an `item_completed` line of a rollout file (PROTOCOL sections 3.3 and 12).

In a file names are snake_case and kinds PascalCase; a command is a list of words, its folder a URL. The duration of a
command or a tool call is in seconds and nanoseconds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from shared.protocol.base import camel_case
from shared.protocol.sandbox_modes import EXTERNAL_SANDBOX
from shared.protocol.token_usage import MAX_TOKENS, TokenCounts
from shared.protocol.turn import TurnError
from shared.rollout.lines import ErrorLine, ItemLine, PolicyLine

MESSAGE_MEMBERS = {"phase": None, "moderation": None, "memoryCitation": None, "delivery": None, "questions": None}


Rename = Callable[[str], str]  # snake_case or camel_case


def snake_case(name: str) -> str:
    """Return a camelCase or PascalCase name in snake_case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def to_rollout(kind: str, item_id: str, item: Mapping[str, Any]) -> ItemLine:
    """Return an item in the file's form. item: its members without id and times, with or without `type`."""
    head: ItemLine = {"type": kind[0].upper() + kind[1:], "id": item_id}
    match kind:
        case "userMessage":
            content = [_input_to_rollout(part) for part in item["content"]]
            return {**head, "client_id": item.get("clientId"), "content": content}
        case "agentMessage":
            phase = {"phase": item["phase"]} if item.get("phase") else {}
            return {**head, "content": [{"type": "Text", "text": item["text"]}], **phase}
        case "reasoning":
            return {**head, "summary_text": item["summary"], "raw_content": item["content"]}
        case "commandExecution":
            return {**head, **_command_to_rollout(item)}
        case "fileChange":
            changes = {change["path"]: _change_to_rollout(change) for change in item["changes"]}
            return {**head, "changes": changes, "status": snake_case(item["status"]), "stdout": "", "stderr": ""}
        case "dynamicToolCall":
            return {**head, **_tool_call_to_rollout(item)}
        case "mcpToolCall":
            return {**head, **_mcp_call_to_rollout(item)}
        case "imageView":
            return {**head, "path": _url(item["path"])}
        case "webSearch":
            return {**head, "query": item["query"], "action": _search_action(item["action"], snake_case)}
        case "enteredReviewMode":
            target = {"type": "custom", "instructions": item["review"]}
            return {**head, "target": target, "user_facing_hint": item["review"]}
        case "exitedReviewMode":
            output = {"findings": [], "overall_correctness": "", "overall_explanation": item["review"]}
            return {**head, "review_output": {**output, "overall_confidence_score": 0.0}}
        case _:
            members = {snake_case(name): value for name, value in item.items() if name != "type"}
            return {**head, **members, **_status(item, snake_case)}


def from_rollout(payload: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return an item's type, and its members without id and times.

    Errors: KeyError, TypeError, ValueError: the payload is not an item
    """
    kind = payload["type"][0].lower() + payload["type"][1:]
    match kind:
        case "userMessage":
            content = [_input_from_rollout(part) for part in payload["content"]]
            return kind, {"clientId": payload.get("client_id"), "content": [part for part in content if is_input(part)]}
        case "agentMessage":
            text = "".join(part["text"] for part in payload["content"])
            return kind, {**MESSAGE_MEMBERS, "text": text, "phase": payload.get("phase")}
        case "reasoning":
            texts = (payload["summary_text"], payload.get("raw_content") or [])
            summary, raw = ([one for one in some if isinstance(one, str)] for some in texts)
            return kind, {"summary": summary, "content": raw}
        case "commandExecution":
            return kind, _command_from_rollout(payload)
        case "fileChange":
            changes = [_change_from_rollout(path, change) for path, change in payload["changes"].items()]
            return kind, {"changes": changes, "status": camel_case(payload["status"])}
        case "dynamicToolCall":
            return kind, _tool_call_from_rollout(payload)
        case "mcpToolCall":
            return kind, _mcp_call_from_rollout(payload)
        case "imageView":
            return kind, {"path": _path(payload["path"])}
        case "webSearch":
            action = _search_action(payload.get("action") or {"type": "other"}, camel_case)
            return kind, {"query": payload["query"], "action": action, "results": None}
        case "enteredReviewMode":
            return kind, {"review": payload.get("user_facing_hint") or ""}
        case "exitedReviewMode":
            return kind, {"review": (payload.get("review_output") or {}).get("overall_explanation", "")}
        case _:
            members = {camel_case(name): value for name, value in payload.items() if name not in ("type", "id")}
            return kind, {**members, **_status(members, camel_case)}


def error_to_rollout(error: TurnError) -> ErrorLine:
    """Return a TurnError in the form of `task_complete`."""
    return {"message": error["message"], "codex_error_info": _renamed(error.get("codexErrorInfo"), snake_case)}


def error_info_from_rollout(info: Any) -> Any:
    """Return the CodexErrorInfo of PROTOCOL 3.2 for one in the file's names."""
    return _renamed(info, camel_case)


def counts_to_rollout(counts: TokenCounts) -> dict[str, int]:
    """Return the token counts of one answer or of a thread under their snake_case names."""
    return {
        "input_tokens": counts["inputTokens"],
        "cached_input_tokens": counts["cachedInputTokens"],
        "cache_write_input_tokens": counts["cacheWriteInputTokens"],
        "output_tokens": counts["outputTokens"],
        "reasoning_output_tokens": counts["reasoningOutputTokens"],
        "total_tokens": counts["totalTokens"],
    }


def is_input(part: Mapping[str, Any]) -> bool:
    """Return whether a part of what a person wrote is one that lists and clients can show."""
    return isinstance(part["type"], str) and all(
        isinstance(part.get(name, ""), str) for name in ("text", "url", "path")
    )


def counts_from_rollout(counts: Mapping[str, object]) -> TokenCounts:
    """Return the counts under their names on the wire; a count that is absent or none is 0."""

    def count(name: str) -> int:
        value = counts.get(f"{name}_tokens")
        return value if type(value) is int and 0 <= value <= MAX_TOKENS else 0

    return {
        "totalTokens": count("total"),
        "inputTokens": count("input"),
        "cachedInputTokens": count("cached_input"),
        "cacheWriteInputTokens": count("cache_write_input"),
        "outputTokens": count("output"),
        "reasoningOutputTokens": count("reasoning_output"),
    }


def policy_to_rollout(policy: Mapping[str, Any]) -> PolicyLine:
    """Return a sandboxPolicy of PROTOCOL section 4 as {"type": "workspace-write", "writable_roots": …}."""
    members = {snake_case(name): value for name, value in policy.items()}
    if policy["type"] == EXTERNAL_SANDBOX:
        members["network_access"] = "enabled" if policy.get("networkAccess") else "restricted"
    return members | {"type": snake_case(policy["type"]).replace("_", "-")}


def policy_from_rollout(policy: Mapping[str, Any]) -> Mapping[str, object]:
    """Return a sandboxPolicy under its names on the wire."""
    members = {camel_case(name): value for name, value in policy.items()}
    if "networkAccess" in members:
        members["networkAccess"] = members["networkAccess"] in (True, "enabled")
    return members | {"type": camel_case(policy["type"].replace("-", "_"))}


def _command_to_rollout(item: Mapping[str, Any]) -> ItemLine:
    try:
        command = shlex.split(item["command"])
    except ValueError:
        command = [item["command"]]
    return {
        "process_id": item.get("processId"),
        "command": command,
        "cwd": _url(item["cwd"]),
        "parsed_cmd": [_action(action, snake_case, "command", "cmd") for action in item["commandActions"]],
        "source": snake_case(item["source"]),
        "status": snake_case(item["status"]),
        "aggregated_output": item.get("aggregatedOutput"),
        "exit_code": item.get("exitCode"),
        "duration": _duration_to_rollout(item),
    }


def _command_from_rollout(payload: Mapping[str, Any]) -> Mapping[str, object]:
    command = payload["command"]
    return {
        "command": command[0] if len(command) == 1 else shlex.join(command),
        "cwd": _path(payload["cwd"]),
        "processId": payload.get("process_id"),
        "source": camel_case(payload.get("source") or "agent"),
        "status": camel_case(payload["status"]),
        "commandActions": [_action(action, camel_case, "cmd", "command") for action in payload.get("parsed_cmd") or ()],
        "aggregatedOutput": payload.get("aggregated_output"),
        "exitCode": payload.get("exit_code"),
        "durationMs": _duration_ms(payload),
        "pluginId": None,
        "scriptPath": None,
    }


def _tool_call_to_rollout(item: Mapping[str, Any]) -> ItemLine:
    return {
        "namespace": item["namespace"],
        "tool": item["tool"],
        "arguments": item["arguments"],
        "status": snake_case(item["status"]),
        "content_items": item["contentItems"],
        "success": item["success"],
        "duration": _duration_to_rollout(item),
    }


def _tool_call_from_rollout(payload: Mapping[str, Any]) -> Mapping[str, object]:
    return {
        "namespace": payload.get("namespace"),
        "tool": payload["tool"],
        "arguments": payload["arguments"],
        "status": camel_case(payload["status"]),
        "contentItems": payload.get("content_items"),
        "success": payload.get("success"),
        "durationMs": _duration_ms(payload),
    }


def _mcp_call_to_rollout(item: Mapping[str, Any]) -> ItemLine:
    result = item["result"]
    if result is not None:
        result = {"content": result["content"], "isError": item["status"] == "failed"} | {
            name: result[name] for name in ("structuredContent", "_meta") if result.get(name) is not None
        }
    return {
        "server": item["server"],
        "tool": item["tool"],
        "arguments": item["arguments"],
        "status": snake_case(item["status"]),
        "result": result,
        "error": item["error"],
        "duration": _duration_to_rollout(item),
    }


def _mcp_call_from_rollout(payload: Mapping[str, Any]) -> Mapping[str, object]:
    result, error = payload.get("result"), payload.get("error")
    if result is not None:
        result = {name: result.get(name) for name in ("content", "structuredContent", "_meta")}
    return {
        "server": payload["server"],
        "environmentId": None,
        "tool": payload["tool"],
        "status": camel_case(payload["status"]),
        "arguments": payload.get("arguments"),
        "appContext": None,
        "mcpAppUi": None,
        "pluginId": None,
        "readOnlyHint": None,
        "result": result,
        "error": {"message": error} if isinstance(error, str) else error,
        "durationMs": _duration_ms(payload),
    }


def _duration_to_rollout(item: Mapping[str, Any]) -> Mapping[str, int] | None:
    duration_ms = item.get("durationMs")
    if duration_ms is None:
        return None
    return {"secs": duration_ms // 1000, "nanos": duration_ms % 1000 * 1_000_000}


def _duration_ms(payload: Mapping[str, Any]) -> int | None:
    duration = payload.get("duration")
    return duration["secs"] * 1000 + duration["nanos"] // 1_000_000 if duration else None


def _action(action: Mapping[str, Any], rename: Rename, command: str, renamed: str) -> Mapping[str, object]:
    """Return a command action whose member `command` is called `renamed` on the other side."""
    others = {name: value for name, value in action.items() if name not in ("type", command)}
    return {"type": rename(action["type"]), renamed: action[command], **others}


def _search_action(action: Mapping[str, Any], rename: Rename) -> Mapping[str, object]:
    return {**action, "type": rename(action["type"])}


def _change_to_rollout(change: Mapping[str, Any]) -> Mapping[str, object]:
    kind = change["kind"]
    if kind["type"] == "update":
        return {"type": "update", "unified_diff": change["diff"], "move_path": kind.get("move_path")}
    return {"type": kind["type"], "content": change["diff"]}


def _change_from_rollout(path: str, change: Mapping[str, Any]) -> Mapping[str, object]:
    if change["type"] == "update":
        kind = {"type": "update", "move_path": change.get("move_path")}
        return {"path": path, "kind": kind, "diff": change["unified_diff"]}
    return {"path": path, "kind": {"type": change["type"]}, "diff": change["content"]}


def _input_to_rollout(part: Mapping[str, Any]) -> Mapping[str, object]:
    match part["type"]:
        case "image":
            return {"type": "image", "image_url": part["url"]}
        case "localImage":
            return {"type": "local_image", "path": part["path"]}
        case _:
            return part


def _input_from_rollout(part: Mapping[str, Any]) -> Mapping[str, object]:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"], "text_elements": part.get("text_elements") or []}
        case "image":
            return {"type": "image", "url": part["image_url"]}
        case "local_image":
            return {"type": "localImage", "path": _path(part["path"])}
        case _:
            return {name: part[name] for name in ("type", "name", "path")}


def _status(members: Mapping[str, Any], rename: Rename) -> Mapping[str, str]:
    return {"status": rename(members["status"])} if isinstance(members.get("status"), str) else {}


def _renamed(value: Any, rename: Rename) -> Any:
    """Return a name, or an object whose keys are names, with all names renamed."""
    if isinstance(value, dict):
        return {rename(name): _renamed(member, rename) for name, member in value.items()}
    return rename(value) if isinstance(value, str) else value


def _url(path: str) -> str:
    return f"file://{quote(path)}"


def _path(url_or_path: str) -> str:
    return unquote(urlsplit(url_or_path).path) if url_or_path.startswith("file://") else url_or_path
