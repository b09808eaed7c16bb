"""kill -9 of a worker at each fault point: nothing is lost, no command runs twice, each client gets one end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.store.turns.recovery import UNPUBLISHED_FOR_MS
from tests.chaos.watched import WatchedTurn, check, check_next, disconnect, wait_for_ends, watch
from tests.support.deployment import SHORT, Deployment, Process
from tests.support.wait import until

TURNS = 4
SCRIPT_SECONDS = 60.0  # for all turns at once, beside a worker that starts, on a busy machine
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
}  # fault point → the least number of commands whose outcome is unknown


@pytest.mark.parametrize("point", POINTS)
def test_killed_worker_loses_nothing_and_repeats_no_command(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path, point: str
) -> None:
    deployment = deploy(api=2, workers=0)
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"{point}:kill@{trigger}") for _ in range(2)]

    for _ in times:
        unknown = kill_one_worker(deployment, workers, trigger, SHORT["lease_seconds"] + SHORT["sweep_seconds"])

        assert unknown >= POINTS[point], "a command had begun, but the model did not learn that its outcome is unknown"


def test_killed_worker_with_the_default_lease_loses_nothing(deploy: Callable[..., Deployment], tmp_path: Path) -> None:
    deployment = deploy(workers=0, server={"lease_seconds": 30, "renewal_seconds": 10, "sweep_seconds": 5})
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"mid_command:kill@{trigger}") for _ in range(2)]

    assert kill_one_worker(deployment, workers, trigger, 30 + 5) >= 1


def kill_one_worker(deployment: Deployment, workers: list[Process], trigger: Path, recovery_seconds: float) -> int:
    """Kill one of two workers while turns run, and check each turn. Return the number of unknown outcomes."""
    watched = watch(deployment, TURNS)
    trigger.touch()
    for turn in watched:
        turn.start()

    until(lambda: any(not worker.is_running for worker in workers))
    killed_at_ms = time.time() * 1000
    assert not trigger.exists(), "the kill did not fire"
    dead = next(worker for worker in workers if not worker.is_running)
    deployment.start_worker(dead)

    wait_for_ends(watched, recovery_seconds + SCRIPT_SECONDS + UNPUBLISHED_FOR_MS / 1000)
    unknown = 0
    for turn in watched:
        took_ms = ended_at_ms(deployment, turn) - killed_at_ms
        assert took_ms < (recovery_seconds + SCRIPT_SECONDS) * 1000, f"over {took_ms:.0f} ms after the kill"
        unknown += check(turn)
    for turn in watched:
        check_next(turn)
    disconnect(watched)
    return unknown


def ended_at_ms(deployment: Deployment, turn: WatchedTurn) -> int:
    """Return when the turn ended, in Unix ms."""
    ended = deployment.store.turns.get(turn.turn_id, "local").completed_at_ms
    assert ended is not None
    return ended
