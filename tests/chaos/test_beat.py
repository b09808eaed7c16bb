"""Two schedulers: one enqueues, and the other replaces it."""

from __future__ import annotations

from pathlib import Path

from shared.event_names import SCHEDULER_LEASE_KEY
from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.wait import until

LEASED = "lease acquired"


def test_a_second_scheduler_replaces_the_first_when_it_stops_or_is_killed(tmp_path: Path) -> None:
    with Deployment(tmp_path, workers=0) as deployment, logs_shown_on_failure(deployment):
        replace(deployment)


def replace(deployment: Deployment) -> None:
    """Stop the first scheduler and kill the second; each time the next one must take over."""
    first = deployment.add_beat()
    first.wait_until(lambda: first.has_logged(LEASED))
    second = deployment.add_beat()
    second.wait_until(lambda: second.has_logged("beat: Starting"))
    assert holder_pid(deployment) == first.pid

    first.stop()
    second.wait_until(lambda: second.has_logged(LEASED))

    third = deployment.add_beat()
    third.wait_until(lambda: third.has_logged("beat: Starting"))
    second.kill()
    deployment.redis.expire(SCHEDULER_LEASE_KEY, 0)  # as after 30 s of silence
    third.wait_until(lambda: third.has_logged(LEASED))
    until(lambda: holder_pid(deployment) == third.pid)


def holder_pid(deployment: Deployment) -> int:
    """Return the process id of the scheduler that has the lease."""
    holder = deployment.redis.get(SCHEDULER_LEASE_KEY)
    assert isinstance(holder, bytes)
    return int(holder.split(b":")[-2])
