"""A feedback report on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict


class FeedbackReport(TypedDict):
    """A report as its author sees it. Texts are redacted, times are Unix seconds.

    threadId:    null when the report is about no thread
    includeLogs: whether the report includes the thread's log
    status:      "received", then "processing", then "delivered" or "failed"; an operator can send a failed one again
    error:       why it failed
    duplicateOf: id of an earlier report with the same content
    Moves:       received → processing → delivered | failed; failed → received by an operator
    """

    id: str
    threadId: str | None
    classification: str
    reason: str | None
    tags: Mapping[str, str]
    includeLogs: bool
    status: str
    error: str | None
    duplicateOf: str | None
    createdAt: int
    updatedAt: int
