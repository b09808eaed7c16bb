"""A feedback report as its author sees it."""

from __future__ import annotations

from shared.protocol.feedback import FeedbackReport
from shared.store.feedback import Report


def feedback_object(report: Report) -> FeedbackReport:
    """Return a report as its author sees it."""
    return {
        "id": report.id,
        "threadId": report.thread_id,
        "classification": report.classification,
        "reason": report.reason,
        "tags": report.tags,
        "includeLogs": report.include_logs,
        "status": report.status,
        "error": report.error,
        "duplicateOf": report.duplicate_of,
        "createdAt": report.created_at_ms // 1000,
        "updatedAt": report.changed_at_ms // 1000,
    }
