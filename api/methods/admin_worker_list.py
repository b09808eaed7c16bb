"""admin/worker/list: List the worker processes and what they do. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import BEGIN_MS, END_MS, Example
from api.requests.params import NoParams

NAME = "admin/worker/list"


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params.

    Errors: Forbidden
    """


class WorkerObject(TypedDict):
    """A worker process. Times are Unix milliseconds.

    state:   "ready", "draining" (it stops), "broken" (commands cannot run there) or "lost" (silent for 20 s)
    turns:   how many turns it runs
    slots:   how many tasks it runs at once
    queues:  which it takes tasks from
    problem: why commands cannot run there
    """

    name: str
    state: str
    turns: int
    slots: int
    queues: Sequence[str]
    version: str
    startedAtMs: int
    seenAtMs: int
    problem: str | None


@dataclass(frozen=True)
class Result:
    """data: oldest first"""

    data: Sequence[WorkerObject]


EXAMPLE = Example(
    result={
        "data": [
            {
                "name": "node-1:4242:1c2d3e4f5a60",
                "state": "ready",
                "turns": 1,
                "slots": 200,
                "queues": ["calls", "turns"],
                "version": "0.2.0",
                "startedAtMs": BEGIN_MS,
                "seenAtMs": END_MS,
                "problem": None,
            }
        ]
    }
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    turns: Counter[str] = Counter(ctx.store.open_turns.all_users_running())
    return Result(
        data=[
            {
                "name": seen.worker.name,
                "state": seen.state,
                "turns": turns[seen.worker.name],
                "slots": seen.worker.slots,
                "queues": seen.worker.queues,
                "version": seen.worker.version,
                "startedAtMs": seen.started_at_ms,
                "seenAtMs": seen.seen_at_ms,
                "problem": seen.worker.problem,
            }
            for seen in ctx.store.workers.all_users_list()
        ]
    )
