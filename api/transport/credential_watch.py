"""Close connections whose credential is no longer valid: one check per round for all connections of the process.

A frame therefore needs no query. A revoked credential works for at most ROUND_SECONDS on an open connection, and for
at most CACHE_SECONDS (api.access.auth) for single requests.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from api.access.auth import Auth
from api.delivery.close_codes import UNAUTHORIZED
from api.delivery.connection import Connection

logger = logging.getLogger(__name__)

ROUND_SECONDS = 10.0
ENDED = "the credential was revoked or has expired"
KEY_REQUIRED = "the server has users now: connect again with an API key"  # it had none, and served its own machine


class CredentialWatch:
    """The open WebSockets and event streams of one process."""

    def __init__(self, auth: Auth) -> None:
        self._auth = auth
        self._lock = threading.Lock()
        self._cuts: dict[Connection, Callable[[], object]] = {}
        self._watching = False

    def add(self, connection: Connection, cut: Callable[[], object]) -> None:
        """Watch a connection. cut: shuts its socket down, for a client that does not even read the close frame."""
        with self._lock:
            self._cuts[connection] = cut
            if self._watching:
                return
            self._watching = True
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def connections(self) -> list[Connection]:
        """Return the open WebSockets and event streams of this process."""
        with self._lock:
            return list(self._cuts)

    def remove(self, connection: Connection) -> None:
        with self._lock:
            self._cuts.pop(connection, None)

    def _watch(self) -> None:
        """Check in rounds, until no connection is open."""
        pause = threading.Event()
        while True:
            pause.wait(ROUND_SECONDS)
            with self._lock:
                cuts = dict(self._cuts)
                if not cuts:
                    self._watching = False
                    return
            try:
                self._check(cuts)
            except Exception as error:  # noqa: BLE001 - such as a database that is away; the next round checks again
                logger.warning("credentials not checked, retrying: %s", error)

    def _check(self, cuts: dict[Connection, Callable[[], object]]) -> None:
        ended = self._auth.find_ended({connection.caller for connection in cuts})
        for connection, cut in cuts.items():
            if connection.is_closed:  # since an earlier round, and its client has not closed its side
                cut()
            elif connection.caller in ended:
                connection.close(UNAUTHORIZED, ENDED if connection.caller.auth_mode != "none" else KEY_REQUIRED)
