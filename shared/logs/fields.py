"""The fields of log lines: a line is an event and, behind it, the ids that it is about."""

from __future__ import annotations

import logging

# Ids and names of ours: a field with text of a user or a model is never printed.
FIELDS = (
    *("method", "kind", "tool", "user_id", "thread_id", "turn_id", "claim_no", "item_id", "call_id", "request_id"),
    *("feedback_id", "erasure_id", "subject_id", "key_id", "turns", "worker", "status", "duration_ms"),
)


class FieldFormatter(logging.Formatter):
    """Appends the fields of `extra` to the message: "turn claimed turn_id=… claim_no=3"."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = (f" {name}={getattr(record, name)}" for name in FIELDS if getattr(record, name, None) is not None)
        return super().formatMessage(record) + "".join(fields)
