"""admin/turn/list: List turns that are not done, and why each waits. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from marshmallow import validate

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import OPEN_TURN, Example
from api.requests.params import MethodParams

NAME = "admin/turn/list"
MAX_LIMIT = 1000

State = Literal["queued", "running", "parked"]


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """Which turns to return.

    worker: beginning of a worker's name
    Errors: Forbidden
    """

    state: State | None = None
    user_id: str | None = None
    worker: str | None = None
    limit: Annotated[int, validate.Range(1, MAX_LIMIT)] = 100


@dataclass(frozen=True)
class Result:
    """data: those whose cause began first come first"""

    data: Sequence[admin.OpenTurnObject]


EXAMPLE = Example(result={"data": [OPEN_TURN]})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    ctx.store.audit.append(ctx.audit_entry(NAME), subject_id=params.user_id)
    found = ctx.store.open_turns.all_users_list(
        turns_at_once=ctx.config.limits.turns_at_once,
        phase=params.state,
        owner=params.user_id,
        worker=params.worker,
        limit=params.limit,
    )
    return Result(data=[admin.open_turn_object(turn) for turn in found])
