"""Messages of the app-server protocol as the bridge sees them, and the ones that it writes itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NotRequired, TypedDict

from shared.clock import now_ms

RETRY_AFTER_MS = 1000

READ_SUFFIXES = ("/list", "/read", "/get")
# Requests that change nothing when they are sent twice, or that leave at most an empty thread, which the server sweeps.
REPEATABLE_METHODS = {
    "initialize",
    "thread/start",
    "thread/resume",
    "thread/unsubscribe",
    "thread/name/set",
    "thread/settings/update",
    "turn/start",
    "turn/steer",
    "turn/interrupt",
}
INPUT_METHODS = ("turn/start", "turn/steer")  # the server accepts each clientUserMessageId once
SUBSCRIBING_METHODS = ("thread/start", "thread/resume", "thread/fork")
# Notifications about rows of the database → the member of params that has the id of the row.
DURABLE_METHODS = {"turn/started": "turn", "turn/completed": "turn", "item/started": "item", "item/completed": "item"}


class ErrorData(TypedDict, total=False):
    """When a client may try again after an error."""

    codexErrorInfo: str
    retryAfterMs: int


class ErrorObject(TypedDict, total=False):
    """The error of a reply."""

    code: int
    message: str
    data: ErrorData | None


class Message(TypedDict, total=False):
    """A request, reply or notification of either side; which one it is follows from the members it has.

    The bridge passes params and results on; it reads only the few members that it needs.
    """

    id: int | str
    method: str
    params: Any
    result: Any
    error: ErrorObject
    eventId: str
    emittedAtMs: int


class Item(TypedDict):
    """The members of an item that the bridge reads; the others are passed on. text: of an agentMessage."""

    id: str
    type: str
    startedAtMs: int
    completedAtMs: int | None
    text: NotRequired[str]


class Turn(TypedDict):
    """The members of a turn that the bridge reads; the others are passed on."""

    id: str
    status: str
    items: list[Item]


class Thread(TypedDict):
    """The members of a thread that the bridge reads; the others are passed on."""

    id: str
    turns: list[Turn]


def is_repeatable(method: str) -> bool:
    """Return whether a request of this method may be sent again when its reply was lost."""
    return method in REPEATABLE_METHODS or method.endswith(READ_SUFFIXES)


def notification(method: str, **params: object) -> Message:
    """Return a notification that the bridge writes in the server's place."""
    return {"method": method, "params": params, "emittedAtMs": now_ms()}


def unavailable(message: str) -> ErrorObject:
    """Return an error after which clients try again; the official SDK looks for "server_overloaded"."""
    data: ErrorData = {"codexErrorInfo": "server_overloaded", "retryAfterMs": RETRY_AFTER_MS}
    return {"code": -32001, "message": f"{message}; try again", "data": data}


def turn_events(thread_id: str, turn: Turn) -> Iterator[Message]:
    """Yield the events of a turn so far, in their order (PROTOCOL section 7); a message's text is one delta."""
    ids = {"threadId": thread_id, "turnId": turn["id"]}
    started = {**turn, "items": [], "status": "inProgress", "error": None, "completedAt": None, "durationMs": None}
    yield notification("turn/started", threadId=thread_id, turn=started)
    for item in turn["items"]:
        is_message = item["type"] == "agentMessage"
        empty = {"completedAtMs": None, "text": ""} if is_message else {"completedAtMs": None}
        yield notification("item/started", **ids, startedAtMs=item["startedAtMs"], item={**item, **empty})
        if is_message:
            yield notification("item/agentMessage/delta", **ids, itemId=item["id"], delta=item["text"])
        yield notification("item/completed", **ids, completedAtMs=item["completedAtMs"], item=item)
    if turn["status"] != "inProgress":
        status = {"type": "systemError" if turn["status"] == "failed" else "idle"}
        yield notification("thread/status/changed", threadId=thread_id, status=status)
        yield notification("turn/completed", threadId=thread_id, turn=turn)
