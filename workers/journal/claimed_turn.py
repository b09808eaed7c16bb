"""What the parts of the journal share: a claimed turn, and the entries that it submits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from shared.errors import ClaimLost
from shared.events.log import Event
from shared.store.turns import Claim
from shared.store.writes import Write
from workers.control.signal import Signal


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What a turn submits in one call: rows to store, then the events to publish about them.

    stored: resolves when the rows are stored; None when nobody waits
    """

    write: Write | None
    events: Sequence[Event]
    stored: Future[str] | None

    def resolve(self, result: str | Exception) -> None:
        """Set the result of the write. The first result counts: a claim may be revoked while its rows are stored."""
        if self.stored is None:
            return
        with suppress(InvalidStateError):
            if isinstance(result, Exception):
                self.stored.set_exception(result)
            else:
                self.stored.set_result(result)


@dataclass(slots=True, eq=False)
class ClaimedTurn:
    """One turn that this process runs.

    Guarded by the journal's lock:
    inbox:       entries that the writer has not drained yet
    urgent:      whether the inbox must not wait for the next tick
    revoked:     the claim is lost: the turn writes and publishes nothing more

    Written by the writer's thread only (revoking a claim also empties the outbox):
    outbox:      events whose rows are stored and that are not in a batch yet
    open_items:  published items that are not rows yet: item id → (item/started, text parts by stream)
    expects_log: whether events of this turn were published before, so that an empty log is a lost log

    Written by the leases:
    renewed_at:  monotonic seconds just before the last successful renewal was sent
    releasing:   the turn is being parked, requeued or ended: its lease may run out

    detached:    the turn has ended, and a command of it runs on: its events need no fencing token
    """

    claim: Claim
    signal: Signal
    renewed_at: float
    expects_log: bool
    inbox: list[JournalEntry] = field(default_factory=list)
    outbox: list[Event] = field(default_factory=list)
    open_items: dict[str, tuple[Event, dict[str, list[str]]]] = field(default_factory=dict)
    urgent: bool = False
    releasing: bool = False
    revoked: bool = False
    detached: bool = False


def fail_entries(entries: Iterable[JournalEntry]) -> None:
    """Resolve entries of a revoked claim with ClaimLost."""
    for entry in entries:
        entry.resolve(ClaimLost("another worker has claimed the turn"))
