"""A worker is killed or paused in each stage of processing a report: each sink receives each report once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from shared.store.feedback import Report
from shared.store.tables import feedback_contents, outbox
from tests.chaos.watched import TRIES
from tests.support.deployment import Deployment, Process
from tests.support.turns import run_turn, start_thread
from tests.support.wait import until
from tests.wire.test_feedback import SINKS

OVERTAKEN = "another worker has delivered it"  # in the log of a worker whose claim to a report is lost
END_SECONDS = 90  # until another worker has processed a report; its claim lasts for four leases
POINTS = ("feedback_claimed", "feedback_collected", "feedback_written", "feedback_finished")


@pytest.mark.parametrize("point", POINTS)
def test_reports_are_delivered_once_when_their_worker_is_killed(
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
            params = {"classification": "bug", "reason": reason, "threadId": thread_id, "includeLogs": True}
            ids.append(client.request("feedback/upload", params)["feedbackId"])
        until(lambda: any(not worker.is_running for worker in workers))
        assert not trigger.exists(), "the kill did not fire"
        deployment.start_worker(next(worker for worker in workers if not worker.is_running))
        expected |= set(ids[:2])

        until(lambda ids=ids: {report(deployment, id_).status for id_ in ids} == {"delivered"}, seconds=END_SECONDS)

        assert [report(deployment, id_).duplicate_of for id_ in ids] == [None, None, ids[0]]
        assert {path.stem for path in (deployment.home / "feedback").glob("*.json")} == expected
        with deployment.store.database.read() as connection:
            kept = set(connection.scalars(select(feedback_contents.c.id)))
            notified = [row.data["feedbackId"] for row in connection.execute(select(outbox))]
            total = connection.scalar(select(func.count()).select_from(feedback_contents))
        assert (kept, total) == (expected, len(expected))
        assert sorted(notified) == sorted(set(notified))
        assert expected <= set(notified)


@pytest.mark.parametrize("point", ["feedback_collected", "feedback_written"])
def test_paused_worker_does_not_deliver_a_report_a_second_time(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path, point: str
) -> None:
    deployment = deploy(workers=0, queues="turns,calls,feedback", settings=SINKS)
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"{point}:stop@{trigger}") for _ in range(2)]
    client = deployment.connect()

    for round_no in times:
        for attempt in range(TRIES):
            trigger.touch()
            params = {"classification": "bug", "reason": f"round {round_no}.{attempt}"}
            feedback_id = client.request("feedback/upload", params)["feedbackId"]
            until(lambda: any(worker.is_paused() for worker in workers))
            paused = next(worker for worker in workers if worker.is_paused())
            if deployment.is_writable():
                break
            paused.resume()
            until(lambda id_=feedback_id: report(deployment, id_).status == "delivered", seconds=END_SECONDS)
        else:
            pytest.fail("the paused worker held the database's write lock each time")
        overtaken = count_overtaken(workers)
        until(lambda id_=feedback_id: report(deployment, id_).status == "delivered", seconds=END_SECONDS)
        before = delivered_content(deployment, feedback_id)

        paused.resume()

        until(lambda n=overtaken: count_overtaken(workers) == n + 1)
        assert delivered_content(deployment, feedback_id) == before
        assert before[2:] == (1, 1)


def count_overtaken(workers: list[Process]) -> int:
    return sum(worker.log.read_text().count(OVERTAKEN) for worker in workers)


def delivered_content(deployment: Deployment, feedback_id: str) -> tuple[object, ...]:
    """Return (the report, its file, the number of its contents in the database, the number of its notifications)."""
    file = deployment.home / "feedback" / f"{feedback_id}.json"
    with deployment.store.database.read() as connection:
        kept = connection.scalar(select(func.count()).where(feedback_contents.c.id == feedback_id))
        notifications = [row for row in connection.execute(select(outbox)) if row.data["feedbackId"] == feedback_id]
    return report(deployment, feedback_id), file.read_bytes(), kept, len(notifications)


def report(deployment: Deployment, feedback_id: str) -> Report:
    return deployment.store.feedback.get(feedback_id, "local")
