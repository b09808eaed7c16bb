"""Two schedulers: one enqueues, and the other replaces it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.event_names import SCHEDULER_LEASE_KEY
from tests.support.deployment import Deployment, Process, logs_shown_on_failure
from tests.support.wait import until

LEASED = "lease acquired"


@pytest.mark.parametrize("command", [("beat",), ("worker", "--beat")], ids=["processes", "in_workers"])
def test_a_second_scheduler_replaces_the_first_when_it_stops_or_is_killed(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    with Deployment(tmp_path, workers=0) as deployment, logs_shown_on_failure(deployment):
        replace(deployment, command)


def replace(deployment: Deployment, command: tuple[str, ...]) -> None:
    """Stop the first scheduler and kill the second; each time the next one must take over."""

    def add() -> Process:
        process = deployment.add_process(*command)
        process.wait_until(lambda: process.has_logged("beat: Starting"))
        return process

    first = add()
    first.wait_until(lambda: first.has_logged(LEASED))
    second = add()
    assert holder_pid(deployment) == first.pid

    first.stop()
    second.wait_until(lambda: second.has_logged(LEASED))

    third = add()
    second.kill()
    deployment.redis.expire(SCHEDULER_LEASE_KEY, 0)  # as after 30 s of silence
    third.wait_until(lambda: third.has_logged(LEASED))
    until(lambda: holder_pid(deployment) == third.pid)


def holder_pid(deployment: Deployment) -> int:
    """Return the process id of the scheduler that has the lease."""
    holder = deployment.redis.get(SCHEDULER_LEASE_KEY)
    assert isinstance(holder, bytes)
    return int(holder.split(b":")[-2])
