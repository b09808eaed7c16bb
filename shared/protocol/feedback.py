"""A report as its author sees it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from shared.protocol.base import WireSchema
from shared.store.feedback import Report


class FeedbackSchema(WireSchema):
    """Shape:  {"id": UUIDv7, "threadId": UUIDv7|null, "classification", "reason": str|null, "tags": {str: str},
            "includeLogs": bool, "status": one of shared.store.feedback.STATUSES, "error": str|null,
            "duplicateOf": UUIDv7|null, "createdAt", "updatedAt": Unix s}; texts are redacted
    Moves:  received → processing → delivered | failed; failed → received by an operator
    """

    id = fields.Str()
    thread_id = fields.Str()
    classification = fields.Str()
    reason = fields.Str()
    tags = fields.Dict()
    include_logs = fields.Bool()
    status = fields.Str()
    error = fields.Str()
    duplicate_of = fields.Str()
    created_at = fields.Int()
    updated_at = fields.Int()


def feedback_object(report: Report) -> dict[str, Any]:
    """As FeedbackSchema loads it."""
    names = (
        "id", "thread_id", "classification", "reason", "tags", "include_logs", "status", "error", "duplicate_of"
    )  # fmt: skip
    times = {"created_at": report.created_at_ms // 1000, "updated_at": report.changed_at_ms // 1000}
    return {name: getattr(report, name) for name in names} | times
