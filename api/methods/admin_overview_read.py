"""admin/overview/read: Read the load of the server at a glance. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import END_MS, USER_ID, Example
from api.requests.params import NoParams
from shared.overview import read_overview
from shared.telemetry.metrics import STATES, WORKER_STATES

NAME = "admin/overview/read"
SLOW = True


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """No params. The audit log has no entry of it: a console asks every few seconds, and gets numbers only.

    Errors: Forbidden
    """


class WorkerCounts(TypedDict):
    """How many worker processes are in which state (admin/worker/list)."""

    ready: int
    draining: int
    broken: int
    lost: int


class TurnCounts(TypedDict):
    """How many turns are in which state."""

    queued: int
    running: int
    parked: int


class CauseObject(TypedDict):
    """Turns of one state with the same cause (admin/turn/list).

    count:   of running or parked turns at most 1000 are looked at
    sinceMs: of the one that waits longest, Unix milliseconds
    """

    state: str
    cause: str
    count: int
    sinceMs: int


class UserLoadObject(TypedDict):
    """What one user does. tokensToday: of answers since midnight, UTC"""

    userId: str
    turns: TurnCounts
    tokensToday: int


@dataclass(frozen=True)
class Result:
    """The deployment at one moment. The difference of two results is what was spent in between.

    at_ms:        Unix milliseconds
    slots:        turns that the workers can run at once
    new_turns:    turns of the last 60 s
    tokens_today: since midnight, UTC, of all users
    users:        those with the most open turns and tokens first, at most 50
    queues:       as of admin/queue/read
    """

    at_ms: int
    workers: WorkerCounts
    slots: int
    turns: TurnCounts
    causes: Sequence[CauseObject]
    new_turns: int
    tokens_today: int
    users: Sequence[UserLoadObject]
    queues: Sequence[admin.WaitingObject]


_TURNS: TurnCounts = {"queued": 3, "running": 8, "parked": 1}
EXAMPLE = Example(
    result={
        "atMs": END_MS,
        "workers": {"ready": 2, "draining": 0, "broken": 0, "lost": 0},
        "slots": 400,
        "turns": _TURNS,
        "causes": [{"state": "queued", "cause": "limit", "count": 3, "sinceMs": END_MS - 9000}],
        "newTurns": 12,
        "tokensToday": 41_200,
        "users": [{"userId": USER_ID, "turns": _TURNS, "tokensToday": 41_200}],
        "queues": [admin.WAITING],
    }
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    found = read_overview(ctx.store, ctx.services.redis, ctx.config)
    ready, draining, broken, lost = (found.workers.get(state, 0) for state in WORKER_STATES)
    return Result(
        at_ms=found.at_ms,
        workers={"ready": ready, "draining": draining, "broken": broken, "lost": lost},
        slots=found.slots,
        turns=_turns(found.turns),
        causes=[
            {"state": one.state, "cause": one.cause, "count": one.count, "sinceMs": one.since_ms}
            for one in found.causes
        ],
        new_turns=found.new_turns,
        tokens_today=found.tokens_today,
        users=[
            {"userId": user.owner, "turns": _turns(user.turns), "tokensToday": user.tokens_today}
            for user in found.users
        ],
        queues=[admin.waiting_object(one) for one in found.waiting],
    )


def _turns(counts: Mapping[str, int]) -> TurnCounts:
    queued, running, parked = (counts.get(state, 0) for state in STATES)
    return {"queued": queued, "running": running, "parked": parked}
