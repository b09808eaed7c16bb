"""admin/feedback/retry: Queue a failed feedback report again. For admins. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests import admin
from api.requests.context import Context
from api.requests.examples import FEEDBACK_ID, Example
from api.requests.params import MethodParams

NAME = "admin/feedback/retry"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The report. A worker processes it within seconds.

    Errors: Forbidden; NotFound; Conflict (it has not failed)
    """

    feedback_id: str


@dataclass(frozen=True)
class Result:
    """Empty."""


EXAMPLE = Example(params={"feedbackId": FEEDBACK_ID})


def handle(ctx: Context, params: Params) -> Result:
    admin.check_admin(ctx)
    ctx.store.feedback.all_users_retry(params.feedback_id, audit_entry=ctx.audit_entry(NAME))
    ctx.after_reply(ctx.services.queue.enqueue_feedback, params.feedback_id)
    return Result()
