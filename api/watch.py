"""Live connections end with the credential that opened them: one look a round at all of this process together.

So a revoked key costs nobody a query per frame, and works no longer than ROUND_SECONDS (and CACHE_SECONDS of api.auth
for single requests).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from api.auth import Auth
from api.connection import Connection

logger = logging.getLogger(__name__)

ROUND_SECONDS = 10.0
UNAUTHORIZED = 4401  # close code: the key or token was revoked or has expired, or its user was disabled


class Watch:
    """The open WebSockets and event streams of one process."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._lock = threading.Lock()
        self._cuts: dict[Connection, Callable[[], object]] = {}
        self._watching = False

    def add(self, connection: Connection, cut: Callable[[], object]) -> None:
        """cut: ends the connection whose client does not even take a goodbye."""
        with self._lock:
            self._cuts[connection] = cut
            if self._watching:
                return
            self._watching = True
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def remove(self, connection: Connection) -> None:
        with self._lock:
            self._cuts.pop(connection, None)

    def _watch(self) -> None:
        """As long as there is something to watch."""
        pause = threading.Event()
        while True:
            pause.wait(ROUND_SECONDS)
            with self._lock:
                cuts = dict(self._cuts)
                if not cuts:
                    self._watching = False
                    return
            try:
                self._look(cuts)
            except Exception as error:  # noqa: BLE001 - such as a database that is away; the next round looks again
                logger.warning("credentials were not looked at: %s", error)

    def _look(self, cuts: dict[Connection, Callable[[], object]]) -> None:
        ended = self._auth.ended({connection.caller for connection in cuts})
        for connection, cut in cuts.items():
            if connection.is_closed:  # since the last round, and its client has not let go
                cut()
            elif connection.caller in ended:
                connection.close(UNAUTHORIZED, "the credential was revoked or has expired")
