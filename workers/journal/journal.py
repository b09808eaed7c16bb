"""The journal: what turns call to store and publish, and the writer's thread.

A turn submits entries: rows to store and events to publish, in order. In rounds of a few milliseconds the writer's
thread commits the rows of all turns in one transaction (committer.py), then publishes their events in one pipeline
(publisher.py). It also renews the leases (leases.py).

Owns the lock over each turn's inbox and `revoked`, the order of a round, and the revocation of a claim.

Deltas are joined: they are published at most once in FLUSH_SECONDS, and in no more than an eighth of the time, so that
the more turns stream here, the more text has one event. No text is dropped. While Redis does not answer, rows are
stored as before and events wait here; events that Redis lost are published again from the store.
"""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future

import redis

from shared.events.log import Event, EventLog
from shared.store import Store
from shared.store.turns import Claim
from shared.store.writes import Write
from workers.control.signal import Signal, StopReason
from workers.journal.claimed_turn import ClaimedTurn, JournalEntry, fail_entries
from workers.journal.committer import Committer
from workers.journal.leases import Leases
from workers.journal.publisher import Publisher

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.010  # between two publications of one item's deltas
FLUSH_SHARE = 8  # publishing them takes at most one part of the time in so many ...
LONGEST_FLUSH_SECONDS = 0.250  # ... but no publication is further from the one before


class Journal:
    """Started once per process. All public methods may be called from any thread."""

    def __init__(
        self, store: Store, log: EventLog, *, lease_seconds: float, renewal_seconds: float, authority_seconds: float
    ) -> None:
        self._log = log
        self._changed = threading.Condition()
        self._with_inbox: dict[ClaimedTurn, None] = {}
        self._flushed_at = 0.0  # monotonic seconds
        self._pause_seconds = 0.0  # after it, because of how long it took
        self._stopping = False
        self._publisher = Publisher(store, log, self._revoke)
        self._committer = Committer(store, self._publisher, self._revoke)
        self.leases = Leases(
            store,
            self._revoke,
            lease_seconds=lease_seconds,
            renewal_seconds=renewal_seconds,
            authority_seconds=authority_seconds,
        )
        self._writer = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        self._writer.start()
        self.leases.start_watching()

    def stop(self, timeout_seconds: float) -> None:
        """Store and publish what is left, then end."""
        self.leases.stop_watching()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._writer.join(timeout_seconds)

    def acquire(self, claim: Claim, signal: Signal, claimed_at: float) -> ClaimedTurn:
        """Begin to write for a turn and to renew its lease.

        claimed_at: monotonic seconds just before the claim was requested
        """
        claimed = ClaimedTurn(claim, signal, claimed_at, expects_log=claim.turn.published_state > 0)
        self.leases.add(claimed)
        return claimed

    def detach(self, claim: Claim) -> ClaimedTurn:
        """Begin to publish for a command of a turn that has ended, behind all that the turn has published."""
        return ClaimedTurn(claim, Signal(), 0.0, expects_log=False, detached=True)

    def begin_release(self, claimed: ClaimedTurn) -> None:
        """Let the turn's lease run out from now on: the turn is about to be parked or requeued."""
        claimed.releasing = True

    def cancel_release(self, claimed: ClaimedTurn) -> None:
        """Renew the turn's lease again: the turn was not released."""
        claimed.releasing = False

    def release(self, claimed: ClaimedTurn) -> None:
        """Renew the turn's lease no more: it has left this worker. Entries that it submitted are still published."""
        claimed.releasing = True
        self.leases.remove(claimed)

    def publish(self, claimed: ClaimedTurn, *events: Event, urgent: bool = False) -> None:
        """Publish events, behind everything that the turn stored and published before."""
        self._submit(claimed, JournalEntry(None, events, None), urgent)

    def store(self, claimed: ClaimedTurn, write: Write, *events: Event, urgent: bool = True) -> Future[str]:
        """Store a write, then publish its events.

        urgent:  store at once, without waiting for the next tick
        Result:  "ok", or "unread" when Write.end was refused
        Errors:  ClaimLost; nothing was stored
        """
        stored: Future[str] = Future()
        self._submit(claimed, JournalEntry(write, events, stored), urgent)
        return stored

    def published_texts(self, claimed: ClaimedTurn) -> dict[str, dict[str, str]] | None:
        """Return the texts that the log has of open items: item id → stream → text. None: Redis does not answer."""
        try:
            snapshot = self._log.snapshot(claimed.claim.thread_id)
        except redis.RedisError:
            return None
        return {item.item_id: item.texts for item in snapshot.open_items}

    def has_authority(self, claimed: ClaimedTurn) -> bool:
        """Return whether this process may write the turn now, by the clock; revoke the claim when it may not."""
        return self.leases.has_authority(claimed)

    def authority_left(self, claimed: ClaimedTurn) -> float:
        """Return for how many seconds `has_authority` holds without another renewal; revoke the claim if for none."""
        return self.leases.authority_left(claimed)

    def renew_leases(self) -> None:
        """Renew all leases soon, and so find out which claims are lost. Does not wait."""
        with self._changed:
            self.leases.make_due()
            self._changed.notify_all()

    def _submit(self, claimed: ClaimedTurn, entry: JournalEntry, urgent: bool) -> None:
        with self._changed:
            if not claimed.revoked:
                claimed.inbox.append(entry)
                claimed.urgent = claimed.urgent or urgent
                was_idle = not self._with_inbox
                self._with_inbox[claimed] = None
                if urgent or was_idle:
                    self._changed.notify_all()
                return
        fail_entries([entry])

    def _run(self) -> None:
        """Run rounds in the writer's thread until the journal is stopped and nothing is left."""
        while self._wait():
            try:
                self.leases.renew()
                is_flush = self._drain()
                self._committer.commit()
                began_at = time.monotonic()
                self._publisher.publish()
                if is_flush:
                    self._pause_seconds = min(LONGEST_FLUSH_SECONDS, FLUSH_SHARE * (time.monotonic() - began_at))
            except Exception:  # the thread must live; what is not stored or published yet is tried again
                logger.exception("journal round failed, retrying")
                self._committer.back_off()
                self._publisher.back_off()

    def _wait(self) -> bool:
        """Sleep until a round is due. False: the journal is stopped and nothing is left."""
        with self._changed:
            while True:
                now = time.monotonic()
                due_at = self._due_at()
                if due_at <= now:
                    return True
                if self._stopping and not self._with_inbox and self._committer.is_idle and self._publisher.is_idle:
                    if not self._publisher.unmarked:
                        return False
                    self._committer.mark_at_once()
                    return True
                self._changed.wait(due_at - now)

    def _due_at(self) -> float:
        """Monotonic seconds at which the next round is due."""
        due_at = self.leases.due_at()
        if any(claimed.urgent for claimed in self._with_inbox):
            due_at = 0.0
        elif self._with_inbox:
            due_at = min(due_at, self._flush_due_at())
        for part in (self._committer.due_at(), self._publisher.due_at()):
            if part is not None:
                due_at = min(due_at, part)
        return due_at

    def _flush_due_at(self) -> float:
        return self._flushed_at + max(FLUSH_SECONDS, self._pause_seconds)

    def _drain(self) -> bool:
        """Pass inboxes on: all of them if a flush is due, else urgent ones. Return whether it was a flush."""
        now = time.monotonic()
        with self._changed:
            is_flush = now >= self._flush_due_at()
            if is_flush:
                self._flushed_at = now
            ready = [claimed for claimed in self._with_inbox if is_flush or claimed.urgent]
            self._committer.add([(claimed, entry) for claimed in ready for entry in claimed.inbox])
            for claimed in ready:
                claimed.inbox, claimed.urgent = [], False
                del self._with_inbox[claimed]
        return is_flush

    def _revoke(self, claimed: ClaimedTurn) -> None:
        """Write and publish nothing more for a turn that another worker may have, and ask the turn to stop.

        Does not wait for the database: entries that are waiting for it fail at once. Harmless when called twice.
        """
        with self._changed:
            if claimed.revoked:
                return
            claimed.revoked = True
            entries, claimed.inbox, claimed.outbox = claimed.inbox, [], []
            self._with_inbox.pop(claimed, None)
            entries += self._committer.waiting_entries(claimed)
        self.leases.remove(claimed)
        fail_entries(entries)
        try:
            claimed.signal.request(StopReason.REVOKED)
        except Exception:  # the journal's threads must live
            logger.exception("signal listener failed", extra={"turn_id": claimed.claim.turn_id})
