"""feedback/upload: Send a report. It is stored before the reply, and a worker processes it afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from marshmallow import ValidationError, validate

from api.requests.context import Context
from api.requests.examples import FEEDBACK_ID, ON_THREAD, THREAD_ID, Example
from api.requests.params import MethodParams

NAME = "feedback/upload"
MAX_REASON_CHARACTERS = 20_000
MAX_TAGS = 32
MAX_TAG_CHARACTERS = 512
CLASSIFICATION = r"[a-z][a-z0-9_-]{0,63}\Z"  # the original's type is any string: bug, bad_result, good_result, …


def _check_tags(tags: Mapping[str, str]) -> None:
    if len(tags) > MAX_TAGS:
        raise ValidationError(f"expected at most {MAX_TAGS} tags")
    if any(len(text) > MAX_TAG_CHARACTERS for pair in tags.items() for text in pair):
        raise ValidationError(f"expected names and values of at most {MAX_TAG_CHARACTERS} characters")


@dataclass(frozen=True, kw_only=True)
class Params(MethodParams):
    """The report. `extraLogFiles` is ignored: a client cannot name files of the server.

    classification: a word such as "bug", "bad_result" or "good_result"
    thread_id:    the thread that the report is about
    include_logs: whether the report includes the thread's log
    tags:         at most 32
    Errors: InvalidParams; NotFound (the thread); Overloaded (too many reports today: `reports_per_day` of [feedback])
    Source: PROTOCOL 5.12
    """

    classification: Annotated[str, validate.Regexp(CLASSIFICATION, error="expected a word such as bug or bad_result")]
    reason: Annotated[str, validate.Length(max=MAX_REASON_CHARACTERS)] | None = None
    thread_id: str | None = None
    include_logs: bool = False
    tags: Annotated[Mapping[str, str], _check_tags] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Where to find the report.

    thread_id:   the thread of the report; the report's own id when it is about no thread
    prompt_hash: always null
    feedback_id: for feedback/read; not part of the Codex protocol
    """

    thread_id: str
    prompt_hash: None
    feedback_id: str


EXAMPLE = Example(
    params={**ON_THREAD, "classification": "bug", "reason": "It stops half way.", "includeLogs": True},
    result={"threadId": THREAD_ID, "promptHash": None, "feedbackId": FEEDBACK_ID},
)


def handle(ctx: Context, params: Params) -> Result:
    redaction = ctx.services.redaction
    if params.thread_id is not None:
        ctx.get_thread(params.thread_id)
    report = ctx.store.feedback.create(
        ctx.user_id,
        thread_id=params.thread_id,
        classification=params.classification,
        reason=redaction.value(params.reason),
        tags=redaction.value(params.tags),
        include_logs=params.include_logs,
        per_day=ctx.config.feedback.reports_per_day,
        audit_entry=ctx.audit_entry(NAME),
    )
    ctx.after_reply(ctx.services.queue.enqueue_feedback, report.id)
    return Result(thread_id=params.thread_id or report.id, prompt_hash=None, feedback_id=report.id)
