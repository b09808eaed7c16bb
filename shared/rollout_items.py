"""An item as clients see it ⇄ the item of an `item_completed` line of a rollout file (PROTOCOL sections 3.3 and 12).

There names are snake_case, kinds PascalCase, a command is its words, its folder a URL, its duration seconds and nanos.
"""

from __future__ import annotations

import re
import shlex
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from shared.protocol.base import camel_case

MESSAGE_MEMBERS = {"phase": None, "moderation": None, "memoryCitation": None, "delivery": None, "questions": None}


def snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def to_rollout(kind: str, item_id: str, item: dict[str, Any]) -> dict[str, Any]:
    """item: without id and times."""
    head = {"type": kind[0].upper() + kind[1:], "id": item_id}
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
            return head | _command_to_rollout(item)
        case "fileChange":
            changes = {change["path"]: _change_to_rollout(change) for change in item["changes"]}
            return {**head, "changes": changes, "status": snake_case(item["status"]), "stdout": "", "stderr": ""}
        case "imageView":
            return {**head, "path": _url(item["path"])}
        case "enteredReviewMode":
            target = {"type": "custom", "instructions": item["review"]}
            return {**head, "target": target, "user_facing_hint": item["review"]}
        case "exitedReviewMode":
            output = {"findings": [], "overall_correctness": "", "overall_explanation": item["review"]}
            return {**head, "review_output": {**output, "overall_confidence_score": 0.0}}
        case _:
            return head | {snake_case(name): value for name, value in item.items()} | _status(item, snake_case)


def from_rollout(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The item's type, and its members without id and times. Errors: KeyError, TypeError, ValueError: not an item."""
    kind = payload["type"][0].lower() + payload["type"][1:]
    match kind:
        case "userMessage":
            content = [_input_from_rollout(part) for part in payload["content"]]
            return kind, {"clientId": payload.get("client_id"), "content": content}
        case "agentMessage":
            text = "".join(part["text"] for part in payload["content"])
            return kind, {**MESSAGE_MEMBERS, "text": text, "phase": payload.get("phase")}
        case "reasoning":
            return kind, {"summary": payload["summary_text"], "content": payload.get("raw_content") or []}
        case "commandExecution":
            return kind, _command_from_rollout(payload)
        case "fileChange":
            changes = [_change_from_rollout(path, change) for path, change in payload["changes"].items()]
            return kind, {"changes": changes, "status": camel_case(payload["status"])}
        case "imageView":
            return kind, {"path": _path(payload["path"])}
        case "enteredReviewMode":
            return kind, {"review": payload.get("user_facing_hint") or ""}
        case "exitedReviewMode":
            return kind, {"review": (payload.get("review_output") or {}).get("overall_explanation", "")}
        case _:
            members = {camel_case(name): value for name, value in payload.items() if name not in ("type", "id")}
            return kind, members | _status(members, camel_case)


def error_to_rollout(error: dict[str, Any]) -> dict[str, Any]:
    """TurnError as `task_complete` holds it."""
    return {"message": error["message"], "codex_error_info": _renamed(error.get("codexErrorInfo"), snake_case)}


def error_info_from_rollout(info: Any) -> Any:
    """CodexErrorInfo of PROTOCOL 3.2."""
    return _renamed(info, camel_case)


def policy_to_rollout(policy: dict[str, Any]) -> dict[str, Any]:
    """A sandboxPolicy of PROTOCOL section 4: {"type": "workspace-write", "writable_roots": …}."""
    members = {snake_case(name): value for name, value in policy.items()}
    if policy["type"] == "externalSandbox":
        members["network_access"] = "enabled" if policy.get("networkAccess") else "restricted"
    return members | {"type": snake_case(policy["type"]).replace("_", "-")}


def policy_from_rollout(policy: dict[str, Any]) -> dict[str, Any]:
    members = {camel_case(name): value for name, value in policy.items()}
    if "networkAccess" in members:
        members["networkAccess"] = members["networkAccess"] in (True, "enabled")
    return members | {"type": camel_case(policy["type"].replace("-", "_"))}


def _command_to_rollout(item: dict[str, Any]) -> dict[str, Any]:
    try:
        command = shlex.split(item["command"])
    except ValueError:
        command = [item["command"]]
    duration_ms = item.get("durationMs")
    return {
        "process_id": item.get("processId"),
        "command": command,
        "cwd": _url(item["cwd"]),
        "parsed_cmd": [_action(action, snake_case, "command", "cmd") for action in item["commandActions"]],
        "source": snake_case(item["source"]),
        "status": snake_case(item["status"]),
        "aggregated_output": item.get("aggregatedOutput"),
        "exit_code": item.get("exitCode"),
        "duration": None
        if duration_ms is None
        else {"secs": duration_ms // 1000, "nanos": duration_ms % 1000 * 1_000_000},
    }


def _command_from_rollout(payload: dict[str, Any]) -> dict[str, Any]:
    duration = payload.get("duration")
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
        "durationMs": duration["secs"] * 1000 + duration["nanos"] // 1_000_000 if duration else None,
        "pluginId": None,
        "scriptPath": None,
    }


def _action(action: dict[str, Any], rename: Any, command: str, renamed: str) -> dict[str, Any]:
    others = {name: value for name, value in action.items() if name not in ("type", command)}
    return {"type": rename(action["type"]), renamed: action[command], **others}


def _change_to_rollout(change: dict[str, Any]) -> dict[str, Any]:
    kind = change["kind"]
    if kind["type"] == "update":
        return {"type": "update", "unified_diff": change["diff"], "move_path": kind.get("move_path")}
    return {"type": kind["type"], "content": change["diff"]}


def _change_from_rollout(path: str, change: dict[str, Any]) -> dict[str, Any]:
    if change["type"] == "update":
        kind = {"type": "update", "move_path": change.get("move_path")}
        return {"path": path, "kind": kind, "diff": change["unified_diff"]}
    return {"path": path, "kind": {"type": change["type"]}, "diff": change["content"]}


def _input_to_rollout(part: dict[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "image":
            return {"type": "image", "image_url": part["url"]}
        case "localImage":
            return {"type": "local_image", "path": part["path"]}
        case _:
            return part


def _input_from_rollout(part: dict[str, Any]) -> dict[str, Any]:
    match part["type"]:
        case "text":
            return {"type": "text", "text": part["text"], "text_elements": part.get("text_elements") or []}
        case "image":
            return {"type": "image", "url": part["image_url"]}
        case "local_image":
            return {"type": "localImage", "path": _path(part["path"])}
        case _:
            return {name: part[name] for name in ("type", "name", "path")}


def _status(members: dict[str, Any], rename: Any) -> dict[str, Any]:
    return {"status": rename(members["status"])} if isinstance(members.get("status"), str) else {}


def _renamed(value: Any, rename: Any) -> Any:
    """A name, or an object with names as its keys."""
    if isinstance(value, dict):
        return {rename(name): _renamed(member, rename) for name, member in value.items()}
    return rename(value) if isinstance(value, str) else value


def _url(path: str) -> str:
    return f"file://{quote(path)}"


def _path(place: str) -> str:
    return unquote(urlsplit(place).path) if place.startswith("file://") else place
