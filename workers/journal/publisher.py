"""Publishes events of many turns in one pipeline, one batch per turn.

Owns each turn's `outbox`, `open_items` and `expects_log`, the batches that Redis has not taken yet, and the record of
what was published but is not marked in the database yet. Used by the writer's thread only. May touch the event log, and
reads the store only to refill a log that Redis lost.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Sequence

import redis
from sqlalchemy.exc import SQLAlchemyError

from shared.errors import NotFound
from shared.events import durable_events
from shared.events.fencing import FencingToken
from shared.events.log import Batch, Event, EventLog
from shared.store import Store
from shared.store.writes import Published
from workers.journal.claimed_turn import ClaimedTurn
from workers.journal.deltas import append_joined

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5  # after an error of Redis


class Publisher:
    """The events of this process's turns, in each turn's order."""

    def __init__(self, store: Store, log: EventLog, revoke: Callable[[ClaimedTurn], None]) -> None:
        """revoke: what to do with a turn whose claim is older than the one that the log knows."""
        self._store = store
        self._log = log
        self._revoke = revoke
        self._batch_numbers = itertools.count(1)
        self._with_outbox: dict[ClaimedTurn, None] = {}
        self._unsent: list[tuple[ClaimedTurn, Batch]] = []
        self._retry_at = 0.0
        self._is_away = False  # Redis, as far as is known
        self.unmarked = Published()  # published, and not marked in the database yet
        self.unmarked_since = 0.0  # monotonic seconds

    def unmark(self, published: Published) -> None:
        """Have what was published marked with a later commit, because this one failed."""
        self.unmarked.add(published)
        self.unmarked_since = time.monotonic()

    def add(self, claimed: ClaimedTurn, events: Sequence[Event]) -> None:
        """Publish these events with the next call of `publish`."""
        append_joined(claimed.outbox, events)
        if claimed.outbox:
            self._with_outbox[claimed] = None

    @property
    def is_idle(self) -> bool:
        return not self._unsent and not self._with_outbox

    def due_at(self) -> float | None:
        """Monotonic seconds at which to publish; None when there is nothing to publish."""
        return None if self.is_idle else self._retry_at

    def back_off(self) -> None:
        self._retry_at = time.monotonic() + RETRY_SECONDS

    def publish(self) -> None:
        """Send all outboxes in one pipeline. While Redis does not answer, events wait here."""
        while not self.is_idle and time.monotonic() >= self._retry_at:
            if not self._unsent:
                self._unsent = [
                    (claimed, self._batch(claimed, claimed.outbox))
                    for claimed in self._with_outbox
                    if not claimed.revoked
                ]
                for claimed in self._with_outbox:
                    claimed.outbox = []
                self._with_outbox = {}
            try:
                answers = self._log.publish([batch for _, batch in self._unsent])
            except redis.RedisError as error:
                if not self._is_away:
                    logger.warning("Redis does not answer, events wait until it does: %s", error)
                self._is_away = True
                return self.back_off()
            except (TypeError, ValueError, AttributeError):
                self._unsent = [
                    (claimed, batch) for claimed, batch in self._unsent if self._is_publishable(claimed, batch)
                ]
                continue
            if self._is_away:
                logger.info("Redis answers again, events are published")
            self._is_away = False
            sent, self._unsent = self._unsent, []
            for (claimed, batch), answer in zip(sent, answers, strict=True):
                if answer == "refused":
                    self._revoke(claimed)
                elif answer == "empty":
                    self._unsent += self._refilled(claimed, batch)
                else:
                    self._record(claimed, batch.events)
        return None

    def _batch(self, claimed: ClaimedTurn, events: Sequence[Event]) -> Batch:
        claim = claimed.claim
        return self._log.batch(
            claim.thread_id,
            claim.owner,
            events,
            token=None if claimed.detached else FencingToken.of_worker(claim.claim_no),
            expects_log=claimed.expects_log,
            number=next(self._batch_numbers),
        )

    def _is_publishable(self, claimed: ClaimedTurn, batch: Batch) -> bool:
        """Return whether the batch can be encoded as JSON.

        A turn whose events cannot be encoded is revoked; otherwise its batch would block the events of all turns.
        """
        try:
            for event in batch.events:
                event.head()
                event.text.encode()
        except (TypeError, ValueError, AttributeError):
            logger.exception("event cannot be encoded, revoking claim", extra={"turn_id": claimed.claim.turn_id})
            self._revoke(claimed)
            return False
        return True

    def _refilled(self, claimed: ClaimedTurn, batch: Batch) -> list[tuple[ClaimedTurn, Batch]]:
        """Return what to publish instead of a batch whose log was lost."""
        try:
            return [(claimed, self._refill(claimed, batch))]
        except NotFound:  # the thread was deleted
            self._revoke(claimed)
            return []
        except SQLAlchemyError:
            logger.warning("event log not refilled, retrying", extra={"turn_id": claimed.claim.turn_id}, exc_info=True)
            self.back_off()
            return [(claimed, batch)]

    def _refill(self, claimed: ClaimedTurn, batch: Batch) -> Batch:
        """Build a batch of the turn's durable events, its open items with their text so far, then the lost batch."""
        logger.warning("event log lost, refilling it", extra={"turn_id": claimed.claim.turn_id})
        claim = claimed.claim
        turn = self._store.turns.get(claim.turn_id, claim.owner)
        items = self._store.items.of_turn(turn.id)
        events = durable_events.of_turn(turn, items, self._store.approvals.of_turn(turn.id))
        # Events that still wait come later, each behind its own deltas.
        waiting = {event.key for event in (*batch.events, *claimed.outbox) if event.key}
        events = [event for event in events if event.key not in waiting]
        for item_id, (started, texts) in claimed.open_items.items():
            events.append(started)
            events += [
                Event("", item_id=item_id, role="delta", stream=stream, text="".join(parts))
                for stream, parts in texts.items()
            ]
        claimed.expects_log = False
        return self._batch(claimed, [*events, *batch.events])

    def _record(self, claimed: ClaimedTurn, events: Sequence[Event]) -> None:
        """Remember that these events are published."""
        claimed.expects_log = True
        for event in events:
            if event.role == "start":
                claimed.open_items[event.item_id] = (event, {})
            elif event.role == "delta" and event.item_id in claimed.open_items:
                claimed.open_items[event.item_id][1].setdefault(event.stream, []).append(event.text)
            elif event.role == "end":
                claimed.open_items.pop(event.item_id, None)
            if event.key:
                if not self.unmarked:
                    self.unmarked_since = time.monotonic()
                self.unmarked.note(event.key)
