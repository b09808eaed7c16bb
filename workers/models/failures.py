"""What a model server's failures mean (PROTOCOL section 10): responses, error events and broken streams as ModelError.

Pure functions. A ModelError carries the text and the kind that clients see, and whether the turn may try again.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

import orjson

from shared.errors import ModelError
from shared.protocol.turn import CodexErrorInfo

IDLE = "idle timeout waiting for the next event"
HIGH_DEMAND = "We’re currently experiencing high demand, which may cause temporary errors."
CONTEXT_FULL = (
    "The conversation ran out of room in the model's context window. "
    "Start a new thread or clear earlier history before retrying."
)
_CONTEXT_FULL = re.compile(r"context[ _](length|window|size)|prompt is too long", re.IGNORECASE)
_TRY_AGAIN_IN = re.compile(r"try again in (\d+(?:\.\d+)?)\s*(ms|s|seconds?|m|minutes?)\b", re.IGNORECASE)
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60}

_USAGE_LIMIT = {"usage_limit_reached", "usage_not_included", "insufficient_quota"}
_OVERLOADED = {"server_is_overloaded", "slow_down"}
_REFUSED = {"invalid_prompt": "badRequest", "cyber_policy": "cyberPolicy", "model_not_found": "modelNotFound"}
_RETRYABLE_STATUS = {401, 408, 409, 425}  # beside 5xx and 429; 401: PROTOCOL section 10
MAX_MESSAGE_CHARACTERS = 10_000  # of what a server says inside the stream; clients see it
LONGEST_RETRY_AFTER_SECONDS = 300.0  # a server that asks for a longer wait fails the turn, which would hold a worker


def disconnected(reason: str) -> ModelError:
    """Return the failure of a stream that broke, or ended before it was complete."""
    return ModelError(f"stream disconnected before completion: {reason}", retryable=True)


def incomplete(reason: str, *, cut_short: bool) -> ModelError:
    """Return the failure of an answer that the server ended early. cut_short: at the limit of tokens."""
    return ModelError(f"Incomplete response returned, reason: {reason}", cut_short=cut_short)


def reported_failure(code: str | None, message: str) -> ModelError:
    """Return the failure that a server reports inside the stream (`response.failed`, an error event)."""
    message = message[:MAX_MESSAGE_CHARACTERS]
    if code == "context_length_exceeded" or _CONTEXT_FULL.search(message):
        return ModelError(CONTEXT_FULL, info="contextWindowExceeded", details=message)
    if code in _USAGE_LIMIT:
        return ModelError(message, info="usageLimitExceeded")
    if code == "rate_limit_exceeded":
        wait_seconds = _seconds_in_message(message)
        return ModelError(message, info="rateLimitExceeded", retryable=True, retry_after_s=wait_seconds)
    if code in _OVERLOADED:
        return ModelError(message, info="serverOverloaded", retryable=True)
    if code in _REFUSED:
        return ModelError(message, info=_REFUSED[code])
    return disconnected(message)


def response_failure(status: int, text: str, retry_after_s: float | None, url: str) -> ModelError:
    """Return the failure that a response other than 200 stands for. text: its body, url: both without secrets."""
    error = _error_member(text)
    given = error.get("message")
    message = given if isinstance(given, str) and given else text
    kinds = {kind for name in ("code", "type") if isinstance(kind := error.get(name), str)}
    phrase = f"{status} {_phrase(status)}".strip()
    unexpected = f"unexpected status {phrase}: {message}"
    if status == 429:
        if kinds & _USAGE_LIMIT:
            return ModelError(_usage_limit(error), info="usageLimitExceeded", http_status=status, details=message)
        return ModelError(
            f"exceeded retry limit, last status: {phrase}",
            info={"responseTooManyFailedAttempts": {"httpStatusCode": status}},
            http_status=status,
            retry_after_s=retry_after_s if retry_after_s is not None else _seconds_in_message(message),
            retryable=True,
            details=message,
        )
    if status < 500 and ("context_length_exceeded" in kinds or (status in (400, 413) and _CONTEXT_FULL.search(text))):
        return ModelError(CONTEXT_FULL, info="contextWindowExceeded", http_status=status, details=message)
    if status == 400:
        return ModelError(text or unexpected, info="other", http_status=status, url=None if text else url)
    if status == 500:
        return ModelError(
            HIGH_DEMAND,
            info="internalServerError",
            retryable=True,
            retry_after_s=retry_after_s,
            details=unexpected,
            url=url,
        )
    info: CodexErrorInfo
    if kinds & _OVERLOADED:
        info = "serverOverloaded"
    elif "model_not_found" in kinds:
        info = "modelNotFound"
    else:
        info = {"httpConnectionFailed": {"httpStatusCode": status}}
    retryable = status > 500 or status in _RETRYABLE_STATUS
    return ModelError(
        unexpected, info=info, http_status=status, retry_after_s=retry_after_s, retryable=retryable, url=url
    )


def connection_failure(error: BaseException, url: str) -> ModelError:
    """Return the failure to connect; it may pass. url: without secrets."""
    return ModelError(
        f"connection failed: {failure_reason(error)}",
        info={"httpConnectionFailed": {"httpStatusCode": None}},
        retryable=True,
        url=url,
    )


def retry_after_seconds(header: str | None) -> float | None:
    """Return `Retry-After` (RFC 9110, 10.2.3) in seconds from now; None when absent or meaningless."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def failure_reason(error: BaseException) -> str:
    """Return what happened, without the object names that urllib3 puts in front of it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = re.sub(r"^\w+\(.*?\): ", "", str(error.args[0]) if error.args else type(error).__name__)
    cause = error.args[1] if len(error.args) > 1 else None
    return f"{text.rstrip('.')}: {cause.strerror}" if isinstance(cause, OSError) and cause.strerror else text


def _seconds_in_message(message: str) -> float | None:
    """Return the wait that a message such as "try again in 1.5s" asks for; None when it names none."""
    match = _TRY_AGAIN_IN.search(message)
    if match is None:
        return None
    unit = match[2].lower()
    return float(match[1]) * _UNIT_SECONDS["ms" if unit == "ms" else unit[0]]


def _error_member(text: str) -> Mapping[str, object]:
    """Return the `error` object of a response's body; {} when the body is no JSON object."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    error = body.get("error", body) if isinstance(body, dict) else {}
    return error if isinstance(error, dict) else {"message": error}


def _usage_limit(error: Mapping[str, object]) -> str:
    resets_at, resets_in = error.get("resets_at"), error.get("resets_in_seconds")
    if isinstance(resets_in, int | float):
        resets_at = time.time() + resets_in
    reached = "You’ve hit your usage limit at the model's provider."
    if not isinstance(resets_at, int | float):
        return reached
    try:
        return f"{reached} Try again at {datetime.fromtimestamp(resets_at, UTC):%Y-%m-%d %H:%M} UTC."
    except (ValueError, OverflowError, OSError):  # not of this calendar: some servers give milliseconds
        return reached


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
