"""Fault points: what happens there, once, and where a turn passes them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import ConfigError
from tests.support.wait import until
from tests.workers.builders import Bench, start
from workers.control import fault_points
from workers.control.fault_points import arm, fault_point

OF_A_TURN = (
    *("before_claim", "after_claim", "mid_stream", "mid_answer", "before_begun", "after_begun", "mid_command"),
    *("before_ended", "before_park", "before_end", "before_final_commit", "before_publish"),
)


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    fault_points._armed.clear()


@pytest.mark.parametrize("text", ["after_begun", "after_begun:kill", "after_begun:burn@/x", "a:kill@/x;b:kill@"])
def test_a_malformed_fault_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="THREADHOUSE_FAULT"):
        arm(text)


def test_a_fault_happens_once_at_its_point(tmp_path: Path) -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: caught.append(number))
    file = tmp_path / "fault"
    file.touch()
    try:
        arm(f"here:term@{file};there:kill@{tmp_path}/none")
        for _ in range(2):
            fault_point("elsewhere")
            assert file.exists() is not bool(caught)
            fault_point("here")
            fault_point("there")
    finally:
        signal.signal(signal.SIGTERM, before)

    assert caught == [signal.SIGTERM]


def test_a_held_thread_waits_until_it_is_released(tmp_path: Path) -> None:
    file, passed = tmp_path / "fault", threading.Event()
    file.touch()
    arm(f"here:hold@{file}")

    held = start(lambda: (fault_point("here"), passed.set()))
    reached = tmp_path / "fault.reached"
    until(reached.exists)
    fault_point("here")  # nobody else is held
    assert not passed.is_set()
    reached.unlink()

    held.join()
    assert passed.is_set()


def test_a_turn_passes_its_points(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    passed: list[str] = []

    class Recorded(dict[str, object]):
        def get(self, point: str, default: object = None) -> object:
            passed.append(point)
            return default

    monkeypatch.setattr(fault_points, "_armed", Recorded(any=1))
    bench.run_turn(bench.thread(), "[[say a]][[run echo out; sleep 0.5]][[say b]]")
    bench.run_turn(bench.thread(approvalPolicy="untrusted"), "[[run true]]")

    assert set(OF_A_TURN) <= set(passed)
