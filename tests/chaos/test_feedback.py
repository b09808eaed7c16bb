"""A worker that dies, or stands still, in each stage of a report: each is delivered, once, to every sink."""

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

OVERTAKEN = "another worker was faster"  # what a worker says of a report that it lets go
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


@pytest.mark.parametrize("point", ["feedback_collected", "feedback_written"])
def test_a_worker_that_stood_still_over_a_report_delivers_it_no_second_time(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path, point: str
) -> None:
    deployment = deploy(workers=0, queues="turns,calls,feedback", settings=SINKS)
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"{point}:stop@{trigger}") for _ in range(2)]
    client = deployment.connect()

    for round_no in times:
        trigger.touch()
        overtaken = sum(worker.log.read_text().count(OVERTAKEN) for worker in workers)
        said = {"classification": "bug", "reason": f"round {round_no}"}
        feedback_id = client.request("feedback/upload", said)["feedbackId"]
        until(lambda: any(worker.is_paused() for worker in workers))
        stale = next(worker for worker in workers if worker.is_paused())
        until(lambda one=feedback_id: report(deployment, one).status == "delivered", seconds=40)
        before = kept_of(deployment, feedback_id)

        stale.resume()

        until(lambda n=overtaken: sum(worker.log.read_text().count(OVERTAKEN) for worker in workers) == n + 1)
        assert kept_of(deployment, feedback_id) == before
        assert before[2:] == (1, 1)


def kept_of(deployment: Deployment, feedback_id: str) -> tuple[object, ...]:
    """(the report, its file, how many contents the database keeps of it, how often it is told)."""
    file = deployment.home / "feedback" / f"{feedback_id}.json"
    with deployment.store.database.read() as connection:
        kept = connection.scalar(select(func.count()).where(feedback_contents.c.id == feedback_id))
        told = [row for row in connection.execute(select(outbox)) if row.data["feedbackId"] == feedback_id]
    return report(deployment, feedback_id), file.read_bytes(), kept, len(told)


def report(deployment: Deployment, feedback_id: str) -> Report:
    return deployment.store.feedback.get(feedback_id, "local")
