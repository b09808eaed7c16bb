"""feedback/read: one of the caller's reports, and how far its processing has come."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema
from shared.protocol.feedback import FeedbackSchema, feedback_object

NAME = "feedback/read"


class Params(ParamsSchema):
    """Shape: {"feedbackId": UUIDv7}. Errors: NotFound. A method of ours; the original has no such thing."""

    feedback_id = fields.Str(required=True)


class Result(WireSchema):
    """feedback: FeedbackSchema"""

    feedback = fields.Nested(FeedbackSchema)


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    return {"feedback": feedback_object(ctx.store.feedback.get(params["feedback_id"], ctx.user_id))}
