"""How fast one user's bytes are read."""

from __future__ import annotations

from api.access.read_rate import BURST_BYTES, BYTES_PER_SECOND, ReadRate


def test_a_user_who_sends_more_than_a_burst_has_to_wait_and_others_have_not() -> None:
    now = [0.0]
    rate = ReadRate(lambda: now[0])

    assert rate.pause_after("eve", BURST_BYTES) == 0
    assert rate.pause_after("eve", BYTES_PER_SECOND) == 1
    assert rate.pause_after("ada", BURST_BYTES) == 0
    now[0] = 1.0
    assert rate.pause_after("eve", 0) == 0
