"""Every way in which a turn stops before the model is done with it.

Stop
├── Interrupted     somebody said stop: the turn ends as interrupted
├── TurnFailed      the turn ends as failed, with the error that clients are shown
├── AwaitingAnswer  parked with its question; the answer queues it again
└── HandedOver      this process shuts down; another worker goes on

shared.errors.ClaimLost is the fifth: another worker has the turn, and not a word comes from us.
"""

from __future__ import annotations

from typing import Any

from workers.agent.signal import Signal, Why


class Stop(Exception):
    """Leaves the loop."""


class Interrupted(Stop):
    """The user said stop."""


class TurnFailed(Stop):
    """error: TurnError (PROTOCOL 3.2)."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.error = error


class AwaitingAnswer(Stop):
    """Parked."""


class HandedOver(Stop):
    """Shutting down."""


def raise_if_called(signal: Signal) -> None:
    """Leave the loop when the turn was called to. Errors: ClaimLost, Interrupted, HandedOver."""
    from shared.errors import ClaimLost

    if Why.LOST in signal:
        raise ClaimLost("another worker has the turn")
    if Why.INTERRUPT in signal:
        raise Interrupted
    if Why.DRAIN in signal:
        raise HandedOver
