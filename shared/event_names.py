"""Names that processes use to find each other's events: keys of durable events, Redis channels, keys of event logs.

Each name is made and parsed here and nowhere else. This module is a leaf, because the store reads event keys too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TURNS_QUEUE = "turns"  # the Celery queue that wakes the workers which claim turns
SCHEDULER_LEASE_KEY = "scheduler-lease"  # of the scheduler that enqueues, while it lives; the value names it
ALERTS_WATCHED_KEY = "alerts-watched"  # exists for some seconds after a process has looked for problems
TURN_SIGNALS_CHANNEL = "turn-signals"  # one channel for all worker processes; see shared.events.turn_signals

_THREAD_CHANNEL = "events:"
_USER_CHANNEL = "user:"

ItemStage = Literal["started", "completed", "reviewStarted", "reviewWarning", "reviewCompleted"]
TurnStage = Literal["active", "started", "inactive", "error", "completed"]
RequestStage = Literal["", "waiting", "resolved", "active"]


@dataclass(frozen=True, slots=True)
class EventKey:
    """A parsed key.

    kind:  "item", "turn" or "request"
    stage: which of the record's events it is; "" is the server request itself
    """

    kind: str
    record_id: str
    stage: str


def item_key(item_id: str, stage: ItemStage) -> str:
    """Return the key of an item's event."""
    return f"item:{item_id}:{stage}"


def turn_key(turn_id: str, stage: TurnStage) -> str:
    """Return the key of a turn's event; "active" and "inactive" are the thread's status that goes with it."""
    return f"turn:{turn_id}:{stage}"


def request_key(request_id: int, stage: RequestStage = "") -> str:
    """Return the key of a server request, or of an event about it."""
    return f"request:{request_id}:{stage}" if stage else f"request:{request_id}"


def parse_key(key: str) -> EventKey:
    """Return the parts of a key that one of the functions above made. Errors: ValueError."""
    match key.split(":"):
        case ["item" | "turn" | "request" as kind, record_id]:
            return EventKey(kind, record_id, "")
        case ["item" | "turn" | "request" as kind, record_id, stage]:
            return EventKey(kind, record_id, stage)
    raise ValueError(f"not the key of a durable event: {key!r}")


def thread_channel(thread_id: str) -> str:
    """Return the channel of a thread's events. The braces make Redis Cluster keep it beside the thread's log."""
    return f"{_THREAD_CHANNEL}{{{thread_id}}}"


def user_channel(owner: str) -> str:
    """Return the channel of the events that all connections of a user get (user-scope notifications)."""
    return f"{_USER_CHANNEL}{{{owner}}}"


def thread_of_channel(channel: str) -> str | None:
    """Return the thread whose events come over a channel; None when it is the channel of something else."""
    return channel[len(_THREAD_CHANNEL) + 1 : -1] if channel.startswith(_THREAD_CHANNEL) else None


def is_user_channel(channel: str) -> bool:
    """Return whether a channel carries user-scope notifications."""
    return channel.startswith(_USER_CHANNEL)


def call_channel(call_id: str) -> str:
    """Return the channel of one worker call's answers; the Redis key of a large result has the same name."""
    return f"call:{call_id}"


def worker_channel(worker: str) -> str:
    """Return the channel of one worker process: what callers send to the calls that run there."""
    return f"worker:{worker}"


def terminal_answer_key(request_id: str) -> str:
    """Return the Redis key of the answer of one background terminal (shared.events.terminal_input)."""
    return f"terminal:{request_id}"


def log_key(thread_id: str, part: Literal["log", "keys", "open", "meta"]) -> str:
    """Return the Redis key of one part of a thread's event log (see shared/events/log.lua)."""
    return f"th:{{{thread_id}}}:{part}"


def text_prefix(thread_id: str) -> str:
    """Return what the Redis keys of a thread's open texts begin with; the field of the open item follows."""
    return f"th:{{{thread_id}}}:text:"
