"""The leases of the turns that this process runs.

Owns the registry of claimed turns and each turn's `renewed_at`. The writer's thread renews all leases in one statement.
A second thread compares them with the clock, because the writer may be waiting for the database. Authority ends before
the lease does (`authority_seconds` < `lease_seconds`), so that a worker has stopped by the time
another worker may claim the turn.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from shared.store import Store
from shared.store.outages import is_outage, outage_reason
from workers.control.signal import StopReason
from workers.journal.claimed_turn import ClaimedTurn

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5  # after a failed renewal
WATCH_SECONDS = 0.5  # between two comparisons with the clock; shorter when leases are short


class Leases:
    """The claimed turns of this process. All methods but `renew` may be called from any thread."""

    def __init__(
        self,
        store: Store,
        revoke: Callable[[ClaimedTurn], None],
        *,
        lease_seconds: float,
        renewal_seconds: float,
        authority_seconds: float,
    ) -> None:
        """revoke: what to do with a claim that may be lost; must be harmless when called twice."""
        self._store = store
        self._revoke = revoke
        self._lease_ms = round(lease_seconds * 1000)
        self._renewal_seconds = renewal_seconds
        self._authority_seconds = authority_seconds
        self._watch_seconds = min(WATCH_SECONDS, (lease_seconds - authority_seconds) / 2)
        self._lock = threading.Lock()
        self._claimed: dict[str, ClaimedTurn] = {}
        self._renewed_at = time.monotonic()
        self._stopped = threading.Event()

    def start_watching(self) -> None:
        threading.Thread(target=self._watch, name="lease-watch", daemon=True).start()

    def stop_watching(self) -> None:
        self._stopped.set()

    def add(self, claimed: ClaimedTurn) -> None:
        """Renew this turn's lease from now on. An earlier claim of the same turn by this process is revoked."""
        with self._lock:
            earlier = self._claimed.get(claimed.claim.turn_id)
        if earlier is not None:
            self._revoke(earlier)  # this process let its lease run out and claimed the turn again
        with self._lock:
            self._claimed[claimed.claim.turn_id] = claimed

    def find(self, turn_id: str) -> ClaimedTurn | None:
        with self._lock:
            return self._claimed.get(turn_id)

    def remove(self, claimed: ClaimedTurn) -> None:
        """Renew this turn's lease no more."""
        with self._lock:
            if self._claimed.get(claimed.claim.turn_id) is claimed:
                del self._claimed[claimed.claim.turn_id]

    def has_authority(self, claimed: ClaimedTurn) -> bool:
        """Return whether this process may write the turn now, by the clock; revoke the claim when it may not."""
        is_over = claimed.renewed_at < time.monotonic() - self._authority_seconds
        if is_over and not claimed.releasing:
            logger.warning("lease not renewed in time, revoking claim", extra={"turn_id": claimed.claim.turn_id})
            self._revoke(claimed)
        return not is_over and not claimed.revoked

    def authority_left(self, claimed: ClaimedTurn) -> float:
        """Return for how many seconds `has_authority` holds without another renewal; revoke the claim if for none."""
        left_s = claimed.renewed_at + self._authority_seconds - time.monotonic()
        return max(left_s, 0.0) if self.has_authority(claimed) else 0.0

    def due_at(self) -> float:
        """Monotonic seconds at which the next renewal is due."""
        return self._renewed_at + self._renewal_seconds

    def make_due(self) -> None:
        """Have the next `renew` renew all leases, however short ago the last one was."""
        self._renewed_at = -math.inf

    def renew(self) -> None:
        """Renew all leases when that is due, and pass on interrupts and input that no signal reported."""
        now = time.monotonic()
        if now < self.due_at():
            return
        with self._lock:
            renewing = [claimed for claimed in self._claimed.values() if not claimed.releasing]
        self._renewed_at = now
        if not renewing:
            return
        claims = [claimed.claim for claimed in renewing]
        try:
            alive = self._store.claims.renew(claims, lease_ms=self._lease_ms)
            interrupted, newest_inputs = self._store.claims.requested_stops(claims)
        except SQLAlchemyError as error:
            logger.warning(
                "leases not renewed, trying again until they end: %s",
                outage_reason(error),
                extra={"turns": len(claims)},
                exc_info=not is_outage(error),
            )
            self._renewed_at = now - self._renewal_seconds + min(RETRY_SECONDS, self._renewal_seconds)
            return
        for claimed in renewing:
            turn_id = claimed.claim.turn_id
            if turn_id in alive:
                claimed.renewed_at = now
            elif not claimed.releasing:
                self._revoke(claimed)
            if turn_id in interrupted:
                claimed.signal.request(StopReason.INTERRUPT)
            if newest_inputs.get(turn_id, 0) > claimed.signal.seen_input_id:
                claimed.signal.request(StopReason.STEER)

    def _watch(self) -> None:
        while not self._stopped.wait(self._watch_seconds):
            with self._lock:
                running = list(self._claimed.values())
            for claimed in running:
                self.has_authority(claimed)
