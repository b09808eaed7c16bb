"""Alerts without Prometheus: a worker stores that no scheduler runs, and the scheduler that no worker does."""

from __future__ import annotations

from pathlib import Path

from tests.support.deployment import Deployment, logs_shown_on_failure
from tests.support.wait import until

SECONDS = 90.0  # for somebody to look, on a busy machine


def test_what_is_missing_is_stored_by_what_is_left(tmp_path: Path) -> None:
    with Deployment(tmp_path, workers=1) as deployment, logs_shown_on_failure(deployment):

        def holding() -> set[str]:
            return {one.name for one in deployment.store.alerts.all_users_list(0) if one.until_ms is None}

        until(lambda: "ThreadhouseNoScheduler" in holding(), seconds=SECONDS)

        deployment.add_beat()
        until(lambda: "ThreadhouseNoScheduler" not in holding(), seconds=SECONDS)

        deployment.workers[0].stop()
        until(lambda: "ThreadhouseNoWorkers" in holding(), seconds=SECONDS)
