"""admin/feedback/list: List the feedback reports of all users. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import FEEDBACK, USER_ID, Example
from api.requests.pages import AdminPageParams, cut_page
from shared.protocol.feedback import FeedbackReport
from shared.store.feedback import STATUSES
from shared.views.feedback import feedback_object

NAME = "admin/feedback/list"


@dataclass(frozen=True, kw_only=True)
class Params(AdminPageParams):
    """Which reports to return.

    Errors: Forbidden; InvalidRequest (the cursor)
    """

    status: Literal["received", "processing", "delivered", "failed"] | None = None


class UserReport(FeedbackReport):
    """A report and who made it. attempts: how often its processing was begun"""

    userId: str
    attempts: int


@dataclass(frozen=True)
class Result:
    """data: newest first. What was collected for a report is read on the host: `threadhouse feedback show`"""

    data: Sequence[UserReport]
    next_cursor: str | None


EXAMPLE = Example(result={"data": [{**FEEDBACK, "userId": USER_ID, "attempts": 1}], "nextCursor": None})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    after_id = params.after_id
    ctx.store.audit.append(ctx.audit_entry(NAME))
    statuses = [params.status] if params.status else STATUSES
    found = ctx.store.feedback.all_users_list(statuses, params.limit + 1, after_id)
    page, next_cursor = cut_page(found, params.limit, lambda report: report.id)
    data: list[UserReport] = [
        {**feedback_object(report), "userId": report.owner, "attempts": report.attempts} for report in page
    ]
    return Result(data=data, next_cursor=next_cursor)
