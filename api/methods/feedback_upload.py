"""feedback/upload: report something; it is stored before the answer, and processed by a worker after it."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validate

from api.context import Context
from api.params import ParamsSchema
from shared.protocol.base import WireSchema

NAME = "feedback/upload"
MAX_REASON_CHARACTERS = 20_000
MAX_TAGS = 32
MAX_TAG_CHARACTERS = 512
CLASSIFICATION = r"[a-z][a-z0-9_-]{0,63}\Z"  # the original's type is any string: bug, bad_result, good_result, …


def _check_tags(tags: dict[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise ValidationError(f"at most {MAX_TAGS} tags")
    if any(len(text) > MAX_TAG_CHARACTERS for pair in tags.items() for text in pair):
        raise ValidationError(f"names and values of at most {MAX_TAG_CHARACTERS} characters")


class Params(ParamsSchema):
    """Shape:  {"classification": a word such as "bug", "reason": str of up to 20,000 characters?, "threadId": UUIDv7?,
            "includeLogs": bool?, "tags": {str: str}, at most 32?}; `extraLogFiles` is not looked at: a client names no
            files of the server's
    Errors: InvalidParams; NotFound (the thread); Overloaded (reports_per_day of [feedback])
    Source: PROTOCOL 5.12
    """

    classification = fields.Str(
        required=True, validate=validate.Regexp(CLASSIFICATION, error="expected a word such as bug or bad_result")
    )
    reason = fields.Str(load_default=None, validate=validate.Length(max=MAX_REASON_CHARACTERS))
    thread_id = fields.Str(load_default=None)
    include_logs = fields.Bool(load_default=False)
    tags = fields.Dict(keys=fields.Str(), values=fields.Str(), load_default=dict, validate=_check_tags)


class Result(WireSchema):
    """threadId: what the report is filed under, which is its own id when it is about no thread
    feedbackId: for feedback/read; only we send it
    """

    thread_id = fields.Str()
    prompt_hash = fields.Str()
    feedback_id = fields.Str()


def handle(ctx: Context, params: dict[str, Any]) -> dict[str, Any]:
    thread_id, redaction = params["thread_id"], ctx.services.redaction
    if thread_id is not None:
        ctx.get_thread(thread_id)
    report = ctx.store.feedback.create(
        ctx.user_id,
        thread_id=thread_id,
        classification=params["classification"],
        reason=redaction.value(params["reason"]),
        tags=redaction.value(params["tags"]),
        include_logs=params["include_logs"],
        per_day=ctx.config.feedback.reports_per_day,
        act=ctx.act(NAME),
    )
    ctx.after_reply(ctx.services.queue.process_feedback, report.id)
    return {"thread_id": thread_id or report.id, "prompt_hash": None, "feedback_id": report.id}
