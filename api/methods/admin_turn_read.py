"""admin/turn/read: Read the timeline of any turn, without its content. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import redis

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import BEGIN_MS, OPEN_TURN, TURN_ID, Example
from api.requests.params import MethodParams
from shared.errors import NotFound
from shared.logs import turn_logs
from shared.store.turns.open_turns import with_failed_call

NAME = "admin/turn/read"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The turn to read.

    Errors: Forbidden, NotFound
    """

    turn_id: str


class Moment(TypedDict):
    """Something that happened. atMs: Unix milliseconds"""

    atMs: int
    what: str


@dataclass(frozen=True)
class Result:
    """A turn as operators see it.

    status:   as of the turn on the wire
    waits:    where it is and why it waits; null when it is done
    timeline: oldest first
    log:      log lines of the workers that had it, kept for a day; empty while Redis does not answer
    """

    thread_id: str
    user_id: str
    status: str
    waits: admin.OpenTurnObject | None
    timeline: Sequence[Moment]
    log: Sequence[str]


EXAMPLE = Example(
    params={"turnId": TURN_ID},
    result={
        "threadId": OPEN_TURN["threadId"],
        "userId": OPEN_TURN["userId"],
        "status": "inProgress",
        "waits": OPEN_TURN,
        "timeline": [{"atMs": BEGIN_MS, "what": "queued"}],
        "log": [],
    },
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    found = ctx.store.open_turns.all_users_find(params.turn_id)
    if found is None:
        raise NotFound(f"turn not found: {params.turn_id[:80]}")
    turn, moments = found
    ctx.store.audit.append(ctx.audit_entry(NAME), thread_id=turn.thread_id, subject_id=turn.id)
    limits = ctx.config.limits
    waits = ctx.store.open_turns.all_users_list(turns_at_once=limits.turns_at_once, turn_id=turn.id)
    try:
        log = turn_logs.read(ctx.services.redis, [turn.id])
    except redis.RedisError:
        log = []
    return Result(
        thread_id=turn.thread_id,
        user_id=turn.owner,
        status=turn.status,
        waits=admin.open_turn_object(with_failed_call(waits[0], turn_logs.failed_call(log))) if waits else None,
        timeline=[{"atMs": moment.at_ms, "what": moment.what} for moment in moments],
        log=log,
    )
