"""Errors → what a client sees of them. The only such table."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import redis
import sqlalchemy.exc

from shared import errors
from shared.protocol.turn import turn_error

logger = logging.getLogger(__name__)

UNAVAILABLE_RETRY_MS = 1000


class Seen(NamedTuple):
    """code: of JSON-RPC (PROTOCOL 2.1). status: of HTTP."""

    code: int
    status: int


CODES: dict[type[Exception], Seen] = {
    errors.InvalidRequest: Seen(-32600, 400),
    errors.NotFound: Seen(-32600, 404),
    errors.Conflict: Seen(-32600, 409),
    errors.NotSteerable: Seen(-32600, 409),
    errors.InvalidParams: Seen(-32602, 400),
    errors.UnknownMethod: Seen(-32601, 404),
    errors.Overloaded: Seen(-32001, 429),
    errors.Unauthorized: Seen(-32600, 401),
    errors.Forbidden: Seen(-32600, 403),
    errors.Unavailable: Seen(-32001, 503),
    errors.CallLost: Seen(-32001, 504),  # without "server_overloaded": a client must not repeat it by itself
}
INTERNAL = Seen(-32603, 500)


class WireError(NamedTuple):
    """One refusal, for either transport.

    retry_after_ms: when trying again makes sense. The official SDK does so when it sees "server_overloaded" in the data
    info:           other members of the data
    """

    seen: Seen
    message: str
    retry_after_ms: int | None = None
    info: dict[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """The member `error` of a response frame."""
        told: dict[str, Any] = {"code": self.seen.code, "message": self.message}
        if self.retry_after_ms is not None:
            told["data"] = {"codexErrorInfo": "server_overloaded", "retryAfterMs": self.retry_after_ms}
        elif self.info is not None:
            told["data"] = self.info
        return told


def wire_error(error: Exception, method: str) -> WireError:
    """What is told of an error; an unforeseen one goes to the log and is "internal error" outside."""
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | sqlalchemy.exc.OperationalError):
        logger.warning("request failed: %s", error, extra={"method": method})
        error = errors.Unavailable("a part of the server does not answer; try again")
    seen = CODES.get(type(error))
    if seen is None:
        logger.error("request failed", exc_info=error, extra={"method": method})
        return WireError(INTERNAL, "internal error")
    if isinstance(error, errors.Unavailable):
        return WireError(seen, str(error), UNAVAILABLE_RETRY_MS)
    if isinstance(error, errors.NotSteerable):
        info = turn_error(str(error), {"activeTurnNotSteerable": {"turnKind": error.turn_kind}})
        return WireError(seen, str(error), info=info)
    return WireError(seen, str(error), error.retry_after_ms if isinstance(error, errors.Overloaded) else None)
