"""The order that every thread's events keep (PROTOCOL section 7), as one check over (method, params)."""

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
PLACES = {"item/reasoning/summaryTextDelta": "summaryIndex", "item/reasoning/textDelta": "contentIndex"}


@dataclass
class Seen:
    """What a follower of one thread knows so far. started, completed: item id → item; tools: ids of open ones."""

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


def check(events: Iterable[tuple[str, dict[str, Any]]], *, sessions: bool = False, lost: bool = False) -> Seen:
    """Assert rules 1 to 6 of section 7; what was seen in the end.

    events:   of one thread, from before its first turn; of a server request, params has "requestId" beside its own
    sessions: commands go on behind their calls, so usage may be told while they run
    lost:     a worker was lost, and with it deltas that it had not said; the completed item has the whole text
    """
    seen = Seen()
    for method, params in events:
        _check_turn(seen, method, params)
        if method.startswith("item/"):
            _check_item(seen, method, params, lost)
        elif method == "thread/tokenUsage/updated" and not sessions:
            assert not seen.tools, f"usage before the end of the tools that the answer asked for: {seen.tools}"
        elif method == "serverRequest/resolved":
            assert params["requestId"] not in seen.resolved, "resolved twice"
            seen.resolved.add(params["requestId"])
    return seen


def _check_turn(seen: Seen, method: str, params: dict[str, Any]) -> None:
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
        seen.tools.clear()
    elif "turnId" in params and method != "serverRequest/resolved":
        assert params["turnId"] == seen.open_turn, f"{method} of {params['turnId']} while {seen.open_turn} runs"
        assert seen.status == "active" or method == "error", f"{method} while the thread is {seen.status}"


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
        _check_texts(seen, item, lost)
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
        assert item_id in seen.started, "a question about an item that has not started"
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
        place = params.get(PLACES.get(method, ""), 0)
        if method == "item/reasoning/summaryTextDelta":
            assert (item_id, place) in seen.parts, "text of a part that was not added"
        key = (method, item_id, place)
        seen.texts[key] = seen.texts.get(key, "") + params["delta"]


def _check_texts(seen: Seen, item: dict[str, Any], lost: bool) -> None:
    for (method, item_id, place), text in seen.texts.items():
        if item_id == item["id"]:
            if item["type"] == "commandExecution" and item["status"] == "failed" and item["exitCode"] is None:
                continue  # its worker was lost, and with it what was kept of the output
            final = TEXTS[method](item, {"summaryIndex": place, "contentIndex": place})
            assert text == final or (lost and final.startswith(text)), (
                f"{method}: the deltas are {text!r}, the text is {final!r}"
            )


def methods(events: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """What happened, in short: items by their types, neighbouring deltas of one kind once."""
    told: list[str] = []
    for method, params in events:
        name = f"{method} {params['item']['type']}" if method in ("item/started", "item/completed") else method
        if method == "thread/status/changed":
            name = " ".join([method, params["status"]["type"], *params["status"].get("activeFlags", [])])
        if not told or told[-1] != name or not name.lower().endswith("delta"):
            told.append(name)
    return told
