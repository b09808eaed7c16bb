"""kill -9 of a worker in each stage of a report: each is delivered, once, to every sink."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from shared.store.feedback import Report
from shared.store.tables import feedback_contents, outbox
from tests.support.deployment import Deployment
from tests.support.turns import run_turn, start_thread
from tests.support.wait import until
from tests.wire.test_feedback import SINKS

POINTS = ("feedback_claimed", "feedback_collected", "feedback_written", "feedback_finished")


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_dies_over_a_report_loses_and_doubles_none(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path, point: str
) -> None:
    deployment = deploy(workers=0, queues="turns,calls,feedback", settings=SINKS)
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"{point}:kill@{trigger}") for _ in range(2)]
    client = deployment.connect()
    thread_id = start_thread(client)
    run_turn(client, thread_id, "[[say Hello.]]")
    expected: set[str] = set()

    for round_no in times:
        trigger.touch()
        ids = []
        for reason in (f"a{round_no}", f"b{round_no}", f"a{round_no}"):
            said = {"classification": "bug", "reason": reason, "threadId": thread_id, "includeLogs": True}
            ids.append(client.request("feedback/upload", said)["feedbackId"])
        until(lambda: any(not worker.is_running for worker in workers))
        assert not trigger.exists(), "the kill did not fire"
        deployment.start_worker(next(worker for worker in workers if not worker.is_running))
        expected |= set(ids[:2])

        until(lambda ids=ids: {report(deployment, one).status for one in ids} == {"delivered"}, seconds=40)

        assert [report(deployment, one).duplicate_of for one in ids] == [None, None, ids[0]]
        assert {path.stem for path in (deployment.home / "feedback").glob("*.json")} == expected
        with deployment.store.database.read() as connection:
            kept = set(connection.scalars(select(feedback_contents.c.id)))
            told = [row.data["feedbackId"] for row in connection.execute(select(outbox))]
            total = connection.scalar(select(func.count()).select_from(feedback_contents))
        assert (kept, total) == (expected, len(expected))
        assert sorted(told) == sorted(set(told))
        assert expected <= set(told)


def report(deployment: Deployment, feedback_id: str) -> Report:
    return deployment.store.feedback.get(feedback_id, "local")
