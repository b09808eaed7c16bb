"""The order of the events of a thread (PROTOCOL section 7), as one check over (method, params)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

ENDS = ("idle", "systemError", "notLoaded")
TOOLS = ("commandExecution", "fileChange")
TEXTS: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "item/agentMessage/delta": lambda item, _: item["text"],
    "item/commandExecution/outputDelta": lambda item, _: item["aggregatedOutput"],
    "item/reasoning/summaryTextDelta": lambda item, params: item["summary"][params["summaryIndex"]],
    "item/reasoning/textDelta": lambda item, params: item["content"][params["contentIndex"]],
}
INDEX_PARAMS = {"item/reasoning/summaryTextDelta": "summaryIndex", "item/reasoning/textDelta": "contentIndex"}


@dataclass
class Seen:
    """What a follower of one thread has seen so far.

    started, completed:  item id → item
    tools:               ids of the tool items that have started and not completed
    texts:               (method, item id, part index) → the joined deltas
    asked, resolved:     ids of server requests
    background:          item id → turn id, of commands that ran on after their turn
    """

    open_turn: str | None = None
    status: str | None = None
    turns: dict[str, str] = field(default_factory=dict)
    started: dict[str, dict[str, Any]] = field(default_factory=dict)
    completed: dict[str, dict[str, Any]] = field(default_factory=dict)
    tools: set[str] = field(default_factory=set)
    texts: dict[tuple[str, str, int], str] = field(default_factory=dict)
    parts: set[tuple[str, int]] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)
    resolved: set[int] = field(default_factory=set)
    background: dict[str, str] = field(default_factory=dict)


def check(events: Iterable[tuple[str, dict[str, Any]]], *, sessions: bool = False, lost: bool = False) -> Seen:
    """Assert rules 1 to 6 of section 7. Return the state after the last event.

    events:    of one thread, from before its first turn; the params of a server request also have "requestId"
    sessions:  commands continue after their calls, and after their turns
    lost:      a worker was killed before it published some deltas; only the completed item has the whole text
    """
    seen = Seen()
    for method, params in events:
        _check_turn(seen, method, params, sessions)
        if method.startswith("item/"):
            _check_item(seen, method, params, lost)
        elif method == "thread/tokenUsage/updated" and not sessions:
            assert not seen.tools, f"usage was published before these tools ended: {seen.tools}"
        elif method == "serverRequest/resolved":
            assert params["requestId"] not in seen.resolved, "resolved twice"
            seen.resolved.add(params["requestId"])
    return seen


def _check_turn(seen: Seen, method: str, params: dict[str, Any], sessions: bool) -> None:
    if method == "thread/status/changed":
        seen.status = params["status"]["type"]
        assert seen.open_turn is None or seen.status in ("active", *ENDS)
        return
    if method == "turn/started":
        turn_id = params["turn"]["id"]
        assert seen.status == "active", "turn/started before the thread is active"
        assert seen.open_turn is None, f"{turn_id} starts while {seen.open_turn} runs"
        assert turn_id not in seen.turns, "turn/started twice"
        assert params["turn"]["status"] == "inProgress"
        assert params["turn"]["items"] == []
        seen.open_turn = turn_id
        seen.turns[turn_id] = "inProgress"
    elif method == "turn/completed":
        turn = params["turn"]
        assert seen.open_turn == turn["id"], f"turn/completed of {turn['id']} while {seen.open_turn} runs"
        wanted = "systemError" if turn["status"] == "failed" else "idle"
        assert seen.status == wanted, f"turn/completed while the thread is {seen.status}"
        assert turn["completedAt"] is not None
        seen.turns[turn["id"]] = turn["status"]
        seen.open_turn = None
        if sessions:
            seen.background |= dict.fromkeys(seen.tools, turn["id"])
        seen.tools.clear()
    elif seen.background.get(_item_of(params), "") == params.get("turnId"):
        assert params["turnId"] in seen.turns
    elif "turnId" in params and method != "serverRequest/resolved":
        assert params["turnId"] == seen.open_turn, f"{method} of {params['turnId']} while {seen.open_turn} runs"
        assert seen.status == "active" or method == "error", f"{method} while the thread is {seen.status}"


def _item_of(params: dict[str, Any]) -> str:
    """Return the id of the item that an event is about; "" for other events."""
    return str(params["item"]["id"] if "item" in params else params.get("itemId", ""))


def _check_item(seen: Seen, method: str, params: dict[str, Any], lost: bool) -> None:
    if method == "item/started":
        item = params["item"]
        assert item["id"] not in seen.started, f"{item['type']} started twice"
        assert item.get("text", "") == "" or item["type"] != "agentMessage"
        assert item.get("status", "inProgress") == "inProgress"
        assert item["completedAtMs"] is None
        seen.started[item["id"]] = item
        if item["type"] in TOOLS:
            seen.tools.add(item["id"])
        return
    if method == "item/completed":
        item = params["item"]
        assert item["id"] in seen.started, f"{item['type']} completed before it started"
        assert item["id"] not in seen.completed, f"{item['type']} completed twice"
        seen.completed[item["id"]] = item
        seen.tools.discard(item["id"])
        seen.background.pop(item["id"], None)
        _check_texts(seen, item, lost)
        return
    if method == "item/commandExecution/terminalInteraction":  # it may have ended the command
        assert params["itemId"] in seen.started, f"{method} before its item started"
        return
    if method.startswith("item/tool/"):
        assert params["requestId"] not in seen.asked, "asked twice"
        seen.asked.add(params["requestId"])
        return
    if method.startswith("item/autoApprovalReview/"):
        assert params["targetItemId"] in seen.started, "a review of an item that has not started"
        assert params["targetItemId"] not in seen.completed
        return
    item_id = params["itemId"]
    if method.endswith("/requestApproval"):
        assert item_id in seen.started, "an approval request for an item that has not started"
        assert item_id not in seen.completed
        assert params["requestId"] not in seen.asked, "asked twice"
        seen.asked.add(params["requestId"])
        return
    assert item_id in seen.started, f"{method} before its item started"
    assert item_id not in seen.completed, f"{method} after its item completed"
    if method == "item/reasoning/summaryPartAdded":
        assert (item_id, params["summaryIndex"]) not in seen.parts
        seen.parts.add((item_id, params["summaryIndex"]))
    if method in TEXTS:
        index = params.get(INDEX_PARAMS.get(method, ""), 0)
        if method == "item/reasoning/summaryTextDelta":
            assert (item_id, index) in seen.parts, "text of a part that was not added"
        key = (method, item_id, index)
        seen.texts[key] = seen.texts.get(key, "") + params["delta"]


def _check_texts(seen: Seen, item: dict[str, Any], lost: bool) -> None:
    for (method, item_id, index), text in seen.texts.items():
        if item_id == item["id"]:
            if item["type"] == "commandExecution" and item["status"] == "failed" and item["exitCode"] is None:
                continue  # its worker was killed, and the output that it kept is lost
            final = TEXTS[method](item, {"summaryIndex": index, "contentIndex": index})
            assert text == final or (lost and final.startswith(text)), (
                f"{method}: the deltas are {text!r}, the text is {final!r}"
            )


def methods(events: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """Return a summary of the events: items by their types, adjacent deltas of one kind once."""
    summary: list[str] = []
    for method, params in events:
        name = f"{method} {params['item']['type']}" if method in ("item/started", "item/completed") else method
        if method == "thread/status/changed":
            name = " ".join([method, params["status"]["type"], *params["status"].get("activeFlags", [])])
        if not summary or summary[-1] != name or not name.lower().endswith("delta"):
            summary.append(name)
    return summary
