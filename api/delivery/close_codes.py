"""Why a connection ends: the close codes that clients see (RFC 6455, 7.4), and the exception that carries one."""

from __future__ import annotations

NORMAL = 1000
GOING_AWAY = 1001
TOO_MANY_FRAMES = 1008
TIMED_OUT = 1008
TOO_BIG = 1009
RESTARTING = 1012  # this API process shuts down: connect again
TRY_AGAIN_LATER = 1013  # too much memory is in use, or the client read so slowly that notifications were dropped
UNAUTHORIZED = 4401  # the key or token was revoked or has expired, or its user was disabled
LOG_TRIMMED = 4409  # the client read so slowly that the thread's log no longer holds the next event


class Closed(Exception):
    """The connection is over. code, reason: of the WebSocket close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
