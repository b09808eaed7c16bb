"""A running turn's access to the journal: everything that the turn stores or publishes goes through here.

Owns the writes that no step has waited for yet. Fills in the ids of the turn, and knows nothing of what a row means.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from shared import telemetry
from shared.errors import ClaimLost
from shared.events.log import Event
from shared.protocol.notifications import OUTPUT_DELTA, REASONING_DELTA
from shared.store.turns import Claim
from shared.store.writes import Write
from workers.journal.claimed_turn import ClaimedTurn
from workers.journal.journal import Journal


class TurnWriter:
    """The journal, bound to one claimed turn."""

    def __init__(self, claim: Claim, claimed: ClaimedTurn, journal: Journal) -> None:
        self.claim = claim
        self._claimed = claimed
        self._journal = journal
        self._unsettled: list[Future[str]] = []
        self._opening: tuple[Event, ...] = ()
        self._awaits_first_text = not claim.recovered

    # -- publishing without storing

    def open_with(self, *events: Event) -> None:
        """Publish these together with the first thing that the turn stores or publishes, which follows in a moment."""
        self._opening = events

    def publish(self, method: str, params: dict[str, Any]) -> None:
        """Publish a notification of the turn; threadId and turnId are filled in."""
        self._publish(self.event(method, params))

    def publish_delta(
        self, method: str, item_id: str, text: str, index: int | None = None, *, urgent: bool = False
    ) -> None:
        """Publish more text of an open item. index: the part, of streams that have parts.

        Errors: TypeError (not a text); the journal would meet it in the middle of other turns' events
        """
        if not isinstance(text, str):
            raise TypeError(f"expected a text, got {type(text).__name__}")
        if self._awaits_first_text and method != OUTPUT_DELTA:
            self._awaits_first_text = False
            telemetry.first_delta(self.claim.turn.created_at_ms)
        params: dict[str, Any] = {
            "threadId": self.claim.thread_id,
            "turnId": self.claim.turn_id,
            "itemId": item_id,
            "delta": text,
        }
        stream = method
        if index is not None:
            params["contentIndex" if method == REASONING_DELTA else "summaryIndex"] = index
            stream = f"{method}#{index}"
        event = Event(method, params, item_id=item_id, role="delta", stream=stream, text=text)
        self._publish(event, urgent=urgent)

    def publish_events(self, *events: Event, urgent: bool = False) -> None:
        self._publish(*events, urgent=urgent)

    def abandon_item(self, item_id: str) -> None:
        """Remove an item that began and never became a row from the thread's open items; clients get no event."""
        self._publish(Event("", item_id=item_id, role="end"))

    def event(self, method: str, params: dict[str, Any]) -> Event:
        return Event(method, {"threadId": self.claim.thread_id, "turnId": self.claim.turn_id, **params})

    def _publish(self, *events: Event, urgent: bool = False) -> None:
        opening, self._opening = self._opening, ()
        self._journal.publish(self._claimed, *opening, *events, urgent=urgent)

    # -- storing, then publishing

    def store(self, write: Write, *events: Event, urgent: bool = True) -> None:
        """Store a write, then publish its events. Does not wait: `settle` does.

        urgent: store at once, without waiting for the journal's next tick
        """
        self._unsettled.append(self._store(write, *events, urgent=urgent))

    def store_and_wait(self, write: Write, *events: Event) -> str:
        """Store a write and wait for it; "unread" when Write.end was refused, else "ok". Errors: ClaimLost."""
        return self._store(write, *events).result()

    def _store(self, write: Write, *events: Event, urgent: bool = True) -> Future[str]:
        if self._opening:  # apart from the write, which may be refused
            self._publish()
        return self._journal.store(self._claimed, write, *events, urgent=urgent)

    def settle(self) -> None:
        """Wait until everything is stored. Errors: ClaimLost."""
        unsettled, self._unsettled = self._unsettled, []
        for stored in unsettled:
            stored.result()

    # -- the claim

    def check_authority(self) -> None:
        """Raise ClaimLost when the lease may be over by the clock."""
        if not self._journal.has_authority(self._claimed):
            raise ClaimLost("another worker may have the turn")

    def begin_release(self) -> None:
        """Let the lease run out from now on: the turn is about to be parked or requeued."""
        self._journal.begin_release(self._claimed)

    def cancel_release(self) -> None:
        """Renew the lease again: the turn was not parked."""
        self._journal.cancel_release(self._claimed)

    def published_texts(self) -> dict[str, dict[str, str]] | None:
        """Return the texts that the log has of open items: item id → stream → text. None: Redis does not answer."""
        return self._journal.published_texts(self._claimed)
