"""feedback/list: List the caller's reports, newest first. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import FEEDBACK, Example
from api.requests.pages import invalid_cursor, page_size
from api.requests.params import NoParams
from shared.ids import is_id
from shared.protocol.feedback import FeedbackReport
from shared.views.feedback import feedback_object

NAME = "feedback/list"
PAGE = 100


@dataclass(frozen=True, kw_only=True)
class Params(NoParams):
    """Which page to return.

    cursor: `nextCursor` of the page before
    limit:  1 to 100; by default 100
    Errors: InvalidRequest (the cursor)
    """

    cursor: str | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Result:
    """The reports, newest first."""

    data: Sequence[FeedbackReport]
    next_cursor: str | None


EXAMPLE = Example(result={"data": [FEEDBACK], "nextCursor": None})


def handle(ctx: Context, params: Params) -> Result:
    cursor, limit = params.cursor, page_size(params.limit, PAGE)
    if cursor is not None and not is_id(cursor):
        raise invalid_cursor(cursor)
    found = ctx.store.feedback.list(ctx.user_id, cursor, limit + 1)
    data = [feedback_object(report) for report in found[:limit]]
    return Result(data=data, next_cursor=found[limit - 1].id if len(found) > limit else None)
