"""Start turns as a client of a deployment, and select the frames about them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.support import order
from tests.support.model_server import YIELD_MS
from tests.support.protocol_client import DEADLINE_S, ProtocolClient

Frames = Iterable[dict[str, Any]]


def start_thread(client: ProtocolClient, **params: Any) -> str:
    """Start a thread. Return its id."""
    thread_id: str = client.request("thread/start", params)["thread"]["id"]
    return thread_id


def start_turn(client: ProtocolClient, thread_id: str, text: str, **params: Any) -> str:
    """Start a turn with this text. Return its id."""
    turn_input = [{"type": "text", "text": text}]
    reply = client.request("turn/start", {"threadId": thread_id, "input": turn_input, **params})
    turn_id: str = reply["turn"]["id"]
    return turn_id


def wait_for_end(client: ProtocolClient, turn_id: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
    """Wait for turn/completed of the turn. Return the turn of the notification."""
    end = client.wait_for(lambda frame: is_end(frame, turn_id), deadline_s)
    turn: dict[str, Any] = end["params"]["turn"]
    return turn


def is_end(frame: dict[str, Any], turn_id: str) -> bool:
    return frame.get("method") == "turn/completed" and frame["params"]["turn"]["id"] == turn_id


def run_turn(client: ProtocolClient, thread_id: str, text: str, **params: Any) -> dict[str, Any]:
    """Start a turn and wait for its end. Return the turn of turn/completed."""
    return wait_for_end(client, start_turn(client, thread_id, text, **params))


def command(line: str, **arguments: Any) -> str:
    """Return a script step that runs a command and waits for its end, however slow the machine is.

    It has no login shell, whose profile depends on the machine.
    """
    given = {"cmd": line, "login": False, "yield_time_ms": YIELD_MS, **arguments}
    return f"[[tool exec_command {json.dumps(given)}]]"


def stored_turn(client: ProtocolClient, thread_id: str, turn_id: str) -> dict[str, Any]:
    """Return the stored turn, with its items."""
    thread = client.request("thread/read", {"threadId": thread_id, "includeTurns": True})["thread"]
    found: dict[str, Any] = next(turn for turn in thread["turns"] if turn["id"] == turn_id)
    return found


def of_thread(frames: Frames, thread_id: str) -> list[dict[str, Any]]:
    """Return the notifications and server requests of one thread, without thread/started."""
    return [f for f in list(frames) if "method" in f and f["params"].get("threadId") == thread_id]


def events(frames: Frames) -> list[tuple[str, dict[str, Any]]]:
    """Return the frames in the form that `tests.support.order` checks."""
    return [(f["method"], {**f["params"], **({"requestId": f["id"]} if "id" in f else {})}) for f in frames]


def check_order(frames: Frames) -> order.Seen:
    """Assert that the frames of one thread are in the order of PROTOCOL section 7."""
    return order.check(events(frames))


def deltas(frames: Frames, item_id: str) -> str:
    """Return the joined deltas of an item."""
    return "".join(
        f["params"]["delta"] for f in frames if f["params"].get("itemId") == item_id and "delta" in f["params"]
    )


def is_delta(frame: dict[str, Any], text: str = "") -> bool:
    return str(frame.get("method", "")).lower().endswith("delta") and text in frame["params"]["delta"]


def after_reply(frames: Frames, request_id: int) -> list[dict[str, Any]]:
    """Return the frames that arrived after the reply to a request."""
    frames = list(frames)
    index = next(n for n, frame in enumerate(frames) if frame.get("id") == request_id and "method" not in frame)
    return frames[index + 1 :]
