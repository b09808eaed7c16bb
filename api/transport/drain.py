"""Ends the connections of an API process that shuts down, so that their clients come back to another one.

Requests in flight are answered first. A WebSocket is closed with 1012; an event stream ends after the cursor from which
its client continues.
"""

from __future__ import annotations

import logging
import threading
import time

from api.delivery.close_codes import RESTARTING
from api.transport.credential_watch import CredentialWatch
from shared.errors import Unavailable

ROUND_SECONDS = 0.1  # a connection may have been opened while the drain began
REASON = "this server process shuts down: connect again"

logger = logging.getLogger(__name__)


class Drain:
    """Whether this process shuts down, and the end of its connections.

    seconds: how long requests in flight may take
    """

    def __init__(self, watch: CredentialWatch, seconds: float) -> None:
        self._watch = watch
        self._seconds = seconds
        self._begun = False

    def check(self) -> None:
        """Raise Unavailable when this process shuts down."""
        if self._begun:
            raise Unavailable(REASON)

    def run(self) -> None:
        """Close all connections as soon as they are idle, and all that are left in the end."""
        self._begun = True
        until_s = time.monotonic() + self._seconds
        connections = self._watch.connections()
        logger.info("drain began, %d connections open", len(connections))
        while connections:
            is_late = time.monotonic() > until_s
            for connection in connections:
                end = connection.close if is_late else connection.close_when_idle
                end(RESTARTING, REASON)
            if is_late:
                logger.warning("drain ended, requests of %d connections were not answered", len(connections))
                return
            threading.Event().wait(ROUND_SECONDS)
            connections = self._watch.connections()
