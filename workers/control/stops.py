"""Every way in which a turn leaves its loop before the model is done.

Stop
├── Interrupted     the user stopped the turn: it ends as interrupted
├── TurnFailed      the turn ends as failed, with the error that clients see
├── AwaitingAnswer  the turn is parked with its request; the answer queues it again
└── Drained         this process shuts down; another worker continues the turn

The fifth way is shared.errors.ClaimLost: another worker has claimed the turn, and this one writes and publishes
nothing more.
"""

from __future__ import annotations

from shared.errors import ClaimLost
from shared.protocol.turn import TurnError
from workers.control.signal import Signal, StopReason


class Stop(Exception):
    """Leaves the loop."""


class Interrupted(Stop):
    """The user stopped the turn."""


class TurnFailed(Stop):
    """The turn fails. error: what clients see (PROTOCOL 3.2)."""

    def __init__(self, error: TurnError) -> None:
        super().__init__(error["message"])
        self.error = error


class AwaitingAnswer(Stop):
    """The turn is parked until a person or a client answers."""


class Drained(Stop):
    """This process shuts down."""


def raise_if_stop_requested(signal: Signal) -> None:
    """Leave the loop if a stop is requested. Errors: ClaimLost, Interrupted, Drained."""
    if StopReason.REVOKED in signal:
        raise ClaimLost("another worker has claimed the turn")
    if StopReason.INTERRUPT in signal:
        raise Interrupted
    if StopReason.DRAIN in signal:
        raise Drained
