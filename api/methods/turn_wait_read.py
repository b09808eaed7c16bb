"""turn/wait/read: Read why the turn of a thread does not go on. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests.context import Context
from api.requests.examples import BEGIN_MS, ON_THREAD, TURN_ID, Example
from api.requests.params import ThreadParams
from shared.store.turns.open_turns import Cause

NAME = "turn/wait/read"
MAX_RUNNING = 20


@dataclass(frozen=True, kw_only=True)
class Params(ThreadParams):
    """The thread.

    Errors: NotFound
    """


class RunningObject(TypedDict):
    """A turn of the caller that runs. name, preview: of its thread; startedAtMs: Unix milliseconds"""

    threadId: str
    turnId: str
    name: str | None
    preview: str
    startedAtMs: int | None


class WaitObject(TypedDict):
    """Where a turn is.

    cause:   "approval": it waits for an answer; "limit": the caller runs as many turns as they may; "noWorker": no
             worker takes turns; "queue": all workers are busy; "claim": a worker is about to take it; "lostWorker":
             its worker is lost, and another continues it; "tool": a tool call runs; "model": it waits for the model
    why:     the same as a sentence, with what to do about it
    sinceMs: Unix milliseconds
    running: with "limit": turns of the caller that run, at most 20; it begins when one of them has ended
    """

    turnId: str
    cause: str
    why: str
    sinceMs: int
    running: Sequence[RunningObject]


@dataclass(frozen=True)
class Result:
    """wait: null when no turn of the thread is active"""

    wait: WaitObject | None


EXAMPLE = Example(
    params=ON_THREAD,
    result={
        "wait": {
            "turnId": TURN_ID,
            "cause": "noWorker",
            "why": "No worker of this server takes turns now. It begins when one does; the operator can start one.",
            "sinceMs": BEGIN_MS,
            "running": [],
        }
    },
)

WHY: dict[Cause, str] = {
    "approval": "It waits for an answer: see the inbox.",
    "limit": "You run as many turns at once as you may. It begins when one of them has ended, the turn that waits "
    "longest first: wait, or interrupt one.",
    "noWorker": "No worker of this server takes turns now. It begins when one does; the operator can start one.",
    "queue": "All workers of this server are busy. It begins when one is free.",
    "claim": "A worker is about to take it.",
    "lostWorker": "Its worker does not answer. Another one continues it within a minute.",
    "tool": "A tool call runs.",
    "model": "It waits for the model.",
}


def handle(ctx: Context, params: Params) -> Result:
    thread = ctx.get_thread(params.thread_id)
    if thread.active_turn is None:
        return Result(wait=None)
    turns_at_once = ctx.config.limits.turns_at_once
    found = ctx.store.open_turns.find(thread.active_turn, ctx.user_id, turns_at_once=turns_at_once)
    if found is None:
        return Result(wait=None)
    running = ctx.store.open_turns.running(ctx.user_id, MAX_RUNNING) if found.cause == "limit" else []
    return Result(
        wait={
            "turnId": found.turn.id,
            "cause": found.cause,
            "why": WHY[found.cause],
            "sinceMs": found.since_ms,
            "running": [
                {
                    "threadId": one.thread_id,
                    "turnId": one.turn_id,
                    "name": one.name,
                    "preview": one.preview,
                    "startedAtMs": one.started_at_ms,
                }
                for one in running
            ],
        }
    )
