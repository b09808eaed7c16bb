"""admin/endedTurn/list: List the ended turns of the last 7 days. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import BEGIN_MS, END_MS, THREAD_ID, TURN_ID, USER_ID, Example
from api.requests.pages import AdminPageParams, cut_page
from shared.protocol.turn import error_kind

NAME = "admin/endedTurn/list"


@dataclass(frozen=True, kw_only=True)
class Params(AdminPageParams):
    """Which page to return, and of which turns.

    Errors: Forbidden; InvalidRequest (the cursor)
    """

    status: Literal["completed", "interrupted", "failed"] | None = None
    user_id: str | None = None


class EndedTurnObject(TypedDict):
    """A turn that has ended, as admins see it: without its content. Times are Unix milliseconds.

    status:    "completed", "interrupted" or "failed"
    error:     what kind of error it failed with, as in the turn's own error; null unless it failed
    startedAtMs: when a worker first had it; null: none has
    """

    turnId: str
    threadId: str
    userId: str
    status: str
    error: str | None
    createdAtMs: int
    startedAtMs: int | None
    endedAtMs: int | None


@dataclass(frozen=True)
class Result:
    """data: the one that was made last comes first"""

    data: Sequence[EndedTurnObject]
    next_cursor: str | None


EXAMPLE = Example(
    params={"status": "failed"},
    result={
        "data": [
            {
                "turnId": TURN_ID,
                "threadId": THREAD_ID,
                "userId": USER_ID,
                "status": "failed",
                "error": "usageLimitExceeded",
                "createdAtMs": BEGIN_MS,
                "startedAtMs": BEGIN_MS,
                "endedAtMs": END_MS,
            }
        ],
        "nextCursor": None,
    },
)


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    after_id = params.after_id
    ctx.store.audit.append(ctx.audit_entry(NAME), subject_id=params.user_id)
    found = ctx.store.ended_turns.all_users_page(
        status=params.status, owner=params.user_id, after_id=after_id, limit=params.limit + 1
    )
    page, next_cursor = cut_page(found, params.limit, lambda turn: turn.id)
    data: list[EndedTurnObject] = [
        {
            "turnId": turn.id,
            "threadId": turn.thread_id,
            "userId": turn.owner,
            "status": turn.status,
            "error": error_kind(turn.error["codexErrorInfo"]) if turn.error else None,
            "createdAtMs": turn.created_at_ms,
            "startedAtMs": turn.started_at_ms,
            "endedAtMs": turn.completed_at_ms,
        }
        for turn in page
    ]
    return Result(data=data, next_cursor=next_cursor)
