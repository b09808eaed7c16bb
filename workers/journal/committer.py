"""Commits the rows of many turns in one transaction.

Owns the entries that are drained from the turns and not committed yet, and the times at which the database is tried
again. Used by the writer's thread only, but for `waiting_entries`. Passes the events of a committed entry on to the
publisher, never those of an entry that was not stored.

Events that come behind no write of their thread do not wait for the database, so that text goes on while it refuses
connections. Other entries wait until the database answers or their claims are revoked. What is stored a second time is
stored once, because an outage may hide that a commit succeeded. A write that looks like an outage each time, such as
one that the server takes too long for, delays the others and does not stop them: after a second outage in a row each
turn is stored alone, and the one that failed comes last, but for later turns of its thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from shared.store import Store
from shared.store.outages import RETRY_SECONDS, is_outage, outage_reason
from shared.store.writes import Published
from workers.control.fault_points import fault_point
from workers.journal.claimed_turn import ClaimedTurn, JournalEntry, fail_entries
from workers.journal.publisher import Publisher

logger = logging.getLogger(__name__)

MARK_SECONDS = 0.2  # for which `published_state` waits for a commit that has rows too

Entries = list[tuple[ClaimedTurn, JournalEntry]]


class Committer:
    """Entries on their way from the turns into the database."""

    def __init__(self, store: Store, publisher: Publisher, revoke: Callable[[ClaimedTurn], None]) -> None:
        self._store = store
        self._publisher = publisher
        self._revoke = revoke
        self._pending: Entries = []
        self._committing: Entries = []  # what is being committed, or was committed last
        self._retry_at = 0.0
        self._outages = 0  # in a row

    def add(self, entries: Entries) -> None:
        """Commit these with the next call of `commit`. Called with the journal's lock."""
        self._pending = self._pending + entries

    @property
    def is_idle(self) -> bool:
        return not self._pending

    def due_at(self) -> float | None:
        """Monotonic seconds at which to commit; None when there is nothing to store."""
        due_at = self._retry_at if self._pending else None
        if self._publisher.unmarked:
            marks_at = max(self._publisher.unmarked_since + MARK_SECONDS, self._retry_at)
            due_at = marks_at if due_at is None else min(due_at, marks_at)
        return due_at

    def back_off(self) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def mark_at_once(self) -> None:
        """Store what is published with the next commit, without waiting for one that has rows."""
        self._publisher.unmarked_since = 0.0

    def waiting_entries(self, claimed: ClaimedTurn) -> list[JournalEntry]:
        """The turn's entries that are not committed yet. May be called from any thread."""
        # In this order: `commit` moves entries from the first list to the second.
        waiting = [*self._pending, *self._committing]
        return [entry for owner, entry in waiting if owner is claimed]

    def commit(self) -> None:
        """Store all pending writes in one transaction, and what was published since the last time."""
        entries = self._pending = self._pass_on([one for one in self._pending if not one[0].revoked])
        writes = [entry.write for _, entry in entries if entry.write is not None]
        marks_due = bool(self._publisher.unmarked) and (
            time.monotonic() >= self._publisher.unmarked_since + MARK_SECONDS
        )
        if not writes and not marks_due:
            return None
        if time.monotonic() < self._retry_at:
            return None
        self._committing, self._pending = entries, []
        published, self._publisher.unmarked = self._publisher.unmarked, Published()
        if any(write.end for write in writes):
            fault_point("before_final_commit")
        if self._outages > 1 and writes:
            self._publisher.unmark(published)
            return self._commit_each_turn(entries)
        try:
            results = self._store.commit(writes, published, repeated=self._outages > 0)
        except Exception as error:
            self._publisher.unmark(published)
            if is_outage(error):
                return self._wait_for_database(entries, error)
            logger.exception("write refused, storing each turn alone")  # a value that the database cannot encode
            return self._commit_each_turn(entries)
        self._outages = 0
        if any(write.end for write in writes):
            fault_point("before_publish")
        return self._deliver(entries, results)

    def _pass_on(self, entries: Entries) -> Entries:
        """Pass on the events that come behind no write of their thread; return the other entries.

        Not of their turn: the end of a turn may be stored, and its thread's next turn begin here, without a reply.
        """
        ready: Entries = []
        waiting: Entries = []
        with_write: set[str] = set()
        for claimed, entry in entries:
            thread_id = claimed.claim.thread_id
            if entry.write is not None:
                with_write.add(thread_id)
            (waiting if thread_id in with_write else ready).append((claimed, entry))
        self._deliver(ready, [])
        return waiting

    def _wait_for_database(self, entries: Entries, error: Exception) -> None:
        """Keep entries until the database is tried again after an outage."""
        logger.warning("database did not answer, %d entries wait: %s", len(entries), outage_reason(error))
        self._outages += 1
        self.back_off()
        self._pending = entries

    def _commit_each_turn(self, entries: Entries) -> None:
        """Store each turn in a transaction of its own, so that only the turn with the refused write fails."""
        while entries:
            claimed = entries[0][0]
            own = [(owner, entry) for owner, entry in entries if owner is claimed]
            others = [(owner, entry) for owner, entry in entries if owner is not claimed]
            try:
                results = self._store.commit(
                    [entry.write for _, entry in own if entry.write], Published(), repeated=self._outages > 0
                )
            except Exception as error:  # noqa: BLE001
                if is_outage(error):
                    thread_id = claimed.claim.thread_id
                    later = [one for one in others if one[0].claim.thread_id == thread_id]
                    others = [one for one in others if one[0].claim.thread_id != thread_id]
                    return self._wait_for_database(others + own + later, error)
                for _, entry in own:  # raised in the turn, where it waits for the write
                    entry.resolve(error)
            else:
                self._deliver(own, results)
            entries = others
        self._outages = 0

    def _deliver(self, entries: Entries, results: Sequence[str]) -> None:
        """Resolve each entry, and pass on the events of those that were stored."""
        remaining = iter(results)
        for claimed, entry in entries:
            result = "ok" if entry.write is None else next(remaining)
            if result == "lost":
                self._revoke(claimed)
            if claimed.revoked:
                fail_entries([entry])
                continue
            if result == "ok":
                if entry.write is not None and entry.write.end is not None:
                    claimed.releasing = True
                self._publisher.add(claimed, entry.events)
            entry.resolve(result)
