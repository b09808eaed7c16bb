"""feedback/read: Show one of the caller's reports and the state of its processing. Not part of the Codex protocol."""

from __future__ import annotations

from dataclasses import dataclass

from api.requests.context import Context
from api.requests.examples import FEEDBACK, FEEDBACK_ID, Example
from api.requests.params import MethodParams
from shared.protocol.feedback import FeedbackReport
from shared.views.feedback import feedback_object

NAME = "feedback/read"


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The report.

    feedback_id: from the result of feedback/upload
    Errors:      NotFound
    """

    feedback_id: str


@dataclass(frozen=True)
class Result:
    """The report."""

    feedback: FeedbackReport


EXAMPLE = Example(params={"feedbackId": FEEDBACK_ID}, result={"feedback": FEEDBACK})


def handle(ctx: Context, params: Params) -> Result:
    return Result(feedback=feedback_object(ctx.store.feedback.get(params.feedback_id, ctx.user_id)))
