"""A turn on the wire (PROTOCOL 3.2): its object, its options and the error of a failed turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypedDict

from marshmallow import validate

from shared.protocol.items import WireItem

STATUSES = ("inProgress", "completed", "interrupted", "failed")
VIEWS = ("notLoaded", "summary", "full")


class TurnOptions(TypedDict, total=False):
    """What was asked for this turn only, and what its attempts remember.

    kind:         "compact", "shell" or "review"; absent for a regular turn
    review:       what a review is about, as clients see it
    outputSchema: JSON Schema of the final message
    client:       name of the client that began the turn
    trace:        W3C headers of the request that began the turn
    lostCalls:    how many workers were lost while they ran a tool call of the turn
    """

    kind: str
    review: str
    outputSchema: Mapping[str, object]
    client: str
    trace: Mapping[str, str]
    lostCalls: int


# A word such as "other", or {"httpConnectionFailed": {"httpStatusCode": int|null}} and the like.
CodexErrorInfo = str | Mapping[str, Mapping[str, object]]


class TurnError(TypedDict):
    """Why a turn failed. additionalDetails: the cause; never a secret."""

    message: str
    codexErrorInfo: CodexErrorInfo | None
    additionalDetails: str | None
    misalignment: None


class TurnObject(TypedDict):
    """A turn as clients see it.

    rootTurnId: its own id
    items:      only those that the view shows
    error:      null unless the turn failed
    startedAt, completedAt: Unix seconds
    """

    id: str
    rootTurnId: str | None
    items: Sequence[WireItem]
    itemsView: Annotated[str, validate.OneOf(VIEWS)]
    status: Annotated[str, validate.OneOf(STATUSES)]
    error: TurnError | None
    startedAt: int | None
    completedAt: int | None
    durationMs: int | None


def turn_error(message: str, info: CodexErrorInfo | None = None, details: str | None = None) -> TurnError:
    """Return a TurnError. details: the cause."""
    return {"message": message, "codexErrorInfo": info, "additionalDetails": details, "misalignment": None}


def error_kind(info: CodexErrorInfo | None) -> str:
    """Return the kind of an error without its details: "other" for an unknown one."""
    if info is None:
        return "other"
    kind = info if isinstance(info, str) else next(iter(info), "other")
    return kind if kind.isascii() and kind.isalnum() and len(kind) <= 64 else "other"
