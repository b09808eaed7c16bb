"""How fast one WebSocket may send."""

from __future__ import annotations

import pytest

from api.delivery.close_codes import TOO_MANY_FRAMES, Closed
from api.transport.frame_rate import (
    BURST_FRAMES,
    DELAY_SECONDS,
    FRAMES_PER_SECOND,
    MAX_DELAYS,
    YIELD_EVERY_FRAMES,
    FrameRate,
)


class Time:
    """A clock that stands still, except while the reader sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


def make_rate() -> tuple[FrameRate, Time]:
    time = Time()
    return FrameRate(lambda: time.now, time.sleep), time


def test_a_burst_is_not_delayed_and_lets_others_run_in_between() -> None:
    rate, time = make_rate()

    for _ in range(int(BURST_FRAMES) - 1):
        rate.count()

    assert time.now == 0
    assert len(time.slept) == (BURST_FRAMES - 1) // YIELD_EVERY_FRAMES


def test_a_client_within_its_rate_is_never_delayed() -> None:
    rate, time = make_rate()

    for _ in range(int(BURST_FRAMES) * 3):
        time.now += 1 / FRAMES_PER_SECOND
        rate.count()

    assert not any(time.slept)


def test_a_client_that_sends_too_fast_is_slowed_down_to_its_rate_and_then_closed() -> None:
    rate, time = make_rate()
    frames = 0

    def send_on() -> None:
        nonlocal frames
        while frames < 100 * BURST_FRAMES:
            rate.count()
            frames += 1

    with pytest.raises(Closed) as closed:
        send_on()

    assert closed.value.code == TOO_MANY_FRAMES
    assert time.now == pytest.approx(MAX_DELAYS * DELAY_SECONDS)
    assert frames <= BURST_FRAMES + (MAX_DELAYS + 1) * DELAY_SECONDS * FRAMES_PER_SECOND


def test_a_client_that_pauses_starts_again_with_a_full_burst() -> None:
    rate, time = make_rate()
    for _ in range(int(BURST_FRAMES) + 1):
        rate.count()
    delayed = time.now
    time.now += BURST_FRAMES / FRAMES_PER_SECOND

    for _ in range(int(BURST_FRAMES) - 1):
        rate.count()

    assert delayed == DELAY_SECONDS
    assert time.slept.count(DELAY_SECONDS) == 1
