"""kill -9 of a worker at each named point: nothing is lost, nothing runs twice, everybody hears the end once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.store.turns import UNTOLD_FOR_MS
from tests.chaos.watched import Watched, check, check_next, hang_up, wait_for_ends, watch
from tests.support.deployment import SHORT, Deployment, Process
from tests.support.wait import until

TURNS = 4
OWN_SECONDS = 4.0  # that four scripts take beside each other, on a busy machine
POINTS = {
    "after_claim": 0,
    "before_begun": 0,
    "after_begun": 1,
    "mid_command": 1,
    "before_ended": 1,
    "mid_stream": 0,
    "mid_answer": 0,
    "before_end": 0,
    "before_final_commit": 0,
    "before_publish": 0,
}  # and how many outcomes are unknown then, at least


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_takes_nothing_with_it(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path, point: str
) -> None:
    deployment = deploy(api=2, workers=0)
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"{point}:kill@{trigger}") for _ in range(2)]

    for _ in times:
        unknown = kill_one(deployment, workers, trigger, SHORT["lease_seconds"] + SHORT["sweep_seconds"])

        assert unknown >= POINTS[point], "a command had begun, and the model was not told that its outcome is unknown"


def test_a_worker_that_dies_under_the_default_lease_takes_nothing_with_it(
    deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    deployment = deploy(workers=0, server={"lease_seconds": 30, "renewal_seconds": 10, "sweep_seconds": 5})
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"mid_command:kill@{trigger}") for _ in range(2)]

    assert kill_one(deployment, workers, trigger, 30 + 5) >= 1


def kill_one(deployment: Deployment, workers: list[Process], trigger: Path, recovery_seconds: float) -> int:
    """Have one of two workers die while turns run, and look at everything. How many outcomes are unknown."""
    watched = watch(deployment, TURNS)
    trigger.touch()
    for one in watched:
        one.start()

    until(lambda: any(not worker.is_running for worker in workers))
    killed_at_ms = time.time() * 1000
    assert not trigger.exists(), "the kill did not fire"
    dead = next(worker for worker in workers if not worker.is_running)
    deployment.start_worker(dead)

    wait_for_ends(watched, recovery_seconds + OWN_SECONDS + UNTOLD_FOR_MS / 1000)
    unknown = 0
    for one in watched:
        took_ms = end_ms(deployment, one) - killed_at_ms
        assert took_ms < (recovery_seconds + OWN_SECONDS) * 1000, f"over {took_ms:.0f} ms after the kill"
        unknown += check(one)
    for one in watched:
        check_next(one)
    hang_up(watched)
    return unknown


def end_ms(deployment: Deployment, one: Watched) -> int:
    """When the turn was over, in Unix ms."""
    ended = deployment.store.turns.get(one.turn_id, "local").completed_at_ms
    assert ended is not None
    return ended
