"""Errors → what a client sees of them. This is the only such table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple, NotRequired, TypedDict, cast

import redis
import sqlalchemy.exc

from shared import errors
from shared.protocol.turn import turn_error
from shared.store.outages import OutcomeUnknown, is_outage, outage_reason

logger = logging.getLogger(__name__)

UNAVAILABLE_RETRY_MS = 1000


class Codes(NamedTuple):
    """code: of JSON-RPC (PROTOCOL 2.1). status: of HTTP."""

    code: int
    status: int


CODES: dict[type[Exception], Codes] = {
    errors.InvalidRequest: Codes(-32600, 400),
    errors.NotFound: Codes(-32600, 404),
    errors.BodyTooLarge: Codes(-32600, 413),
    errors.HistoryTooLarge: Codes(-32600, 413),
    errors.ConfigWriteRefused: Codes(-32600, 400),
    errors.StaleConfigVersion: Codes(-32600, 409),
    errors.Conflict: Codes(-32600, 409),
    errors.NotSteerable: Codes(-32600, 409),
    errors.InvalidParams: Codes(-32602, 400),
    errors.UnknownMethod: Codes(-32601, 404),
    errors.Overloaded: Codes(-32001, 429),
    errors.RequestTimeout: Codes(-32600, 408),
    errors.McpRequestFailed: Codes(-32603, 502),  # or the code of the server's own error
    errors.Unauthorized: Codes(-32600, 401),
    errors.Forbidden: Codes(-32600, 403),
    errors.Unavailable: Codes(-32001, 503),
    errors.CallLost: Codes(-32001, 504),  # without "server_overloaded", so that no client repeats the request by itself
}
INTERNAL = Codes(-32603, 500)


class ErrorBody(TypedDict):
    """The member `error` of a response frame (PROTOCOL 2.1)."""

    code: int
    message: str
    data: NotRequired[Mapping[str, object]]


class WireError(NamedTuple):
    """An error as either transport sends it.

    retry_after_ms: after which a retry makes sense; the official SDK retries when `data` says "server_overloaded"
    info:           `data` of an error for which a retry makes no sense
    """

    codes: Codes
    message: str
    retry_after_ms: int | None = None
    info: Mapping[str, object] | None = None

    def body(self) -> ErrorBody:
        """Return the member `error` of a response frame."""
        body: ErrorBody = {"code": self.codes.code, "message": self.message}
        if self.retry_after_ms is not None:
            body["data"] = {"codexErrorInfo": "server_overloaded", "retryAfterMs": self.retry_after_ms}
        elif self.info is not None:
            body["data"] = self.info
        return body


def wire_error(error: Exception, method: str) -> WireError:
    """Return what a client sees of an error. An unexpected one is logged in full and sent as "internal error"."""
    if isinstance(error, OutcomeUnknown):
        logger.warning("request's outcome unknown: %s", error, extra={"method": method})
        error = errors.CallLost("the database did not confirm the change: check whether it was made")
    if isinstance(error, sqlalchemy.exc.TimeoutError):  # all connections of the pool are in use
        logger.warning("request refused: %s", error, extra={"method": method})
        error = errors.Overloaded("too many requests wait for the database; retry shortly")
    if isinstance(error, redis.ConnectionError | redis.TimeoutError):
        logger.warning("request failed: %s", error, extra={"method": method})
        error = errors.Unavailable("Redis does not answer; try again")
    if is_outage(error):
        logger.warning("request failed: %s", outage_reason(error), extra={"method": method})
        error = errors.Unavailable("the database does not answer; try again")
    codes = CODES.get(type(error))
    if codes is None:
        logger.error("request failed", exc_info=error, extra={"method": method})
        return WireError(INTERNAL, "internal error")
    if isinstance(error, errors.Unavailable):
        return WireError(codes, str(error), UNAVAILABLE_RETRY_MS)
    if isinstance(error, errors.NotSteerable):
        info = turn_error(str(error), {"activeTurnNotSteerable": {"turnKind": error.turn_kind}})
        return WireError(codes, str(error), info=info)
    if isinstance(error, errors.McpRequestFailed):
        return WireError(Codes(error.code, codes.status), str(error), info=cast(Mapping[str, object], error.data))
    if isinstance(error, errors.ConfigWriteRefused):
        return WireError(codes, str(error), info={"config_write_error_code": error.reason})
    return WireError(codes, str(error), error.retry_after_ms if isinstance(error, errors.Overloaded) else None)
