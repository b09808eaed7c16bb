"""A stop request makes the loop leave its turn in the way that belongs to the reason."""

from __future__ import annotations

import pytest

from shared.errors import ClaimLost
from workers.control.signal import Signal, StopReason
from workers.control.stops import Drained, Interrupted, raise_if_stop_requested

LEAVES = [(StopReason.REVOKED, ClaimLost), (StopReason.INTERRUPT, Interrupted), (StopReason.DRAIN, Drained)]


@pytest.mark.parametrize(("reason", "error"), LEAVES)
def test_a_stop_request_leaves_the_turn(reason: StopReason, error: type[Exception]) -> None:
    signal = Signal()
    raise_if_stop_requested(signal)
    signal.request(StopReason.STEER)
    raise_if_stop_requested(signal)

    signal.request(reason)

    with pytest.raises(error):
        raise_if_stop_requested(signal)


def test_a_lost_claim_comes_before_all_else_and_an_interrupt_before_a_drain() -> None:
    signal = Signal()

    for reason, error in reversed(LEAVES):
        signal.request(reason)

        with pytest.raises(error):
            raise_if_stop_requested(signal)
