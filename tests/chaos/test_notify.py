"""kill -9 of a worker around a delivery: the notify program runs at most once, a webhook is called at least once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select, update

from shared.store.tables import outbox
from tests.support.deployment import Deployment
from tests.support.notifier import Notifier
from tests.support.turns import run_turn, start_thread, start_turn, wait_for_end
from tests.support.wait import until
from tests.support.webhook_receiver import SECRET, WebhookReceiver

TURNS = 3
QUEUES = "turns,calls,background"


@pytest.mark.parametrize("point", ["before_publish", "before_notify", "after_notify"])
def test_notify_program_runs_at_most_once_when_its_worker_is_killed(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path, point: str
) -> None:
    notifier = Notifier(tmp_path)
    deployment = deploy(workers=0, settings={"notify": notifier.argv}, queues=QUEUES)
    trigger = tmp_path / "trigger"
    workers = [deployment.add_worker(fault=f"{point}:kill@{trigger}") for _ in range(2)]
    client = deployment.connect()

    def run_turns() -> None:
        trigger.touch()
        threads = [start_thread(client) for _ in range(TURNS)]
        turns = [start_turn(client, thread_id, "[[say fine]]") for thread_id in threads]
        until(lambda: any(not worker.is_running for worker in workers))
        for worker in workers:
            if not worker.is_running:
                deployment.start_worker(worker)
        for turn_id in turns:
            assert wait_for_end(client, turn_id)["status"] == "completed"
        until(lambda: "pending" not in states(deployment).values())
        expire_all_leases(deployment)
        after = run_turn(client, threads[0], "[[say fine]]")["id"]
        until(lambda: after in notifier.turn_ids())  # notifications that were due earlier are delivered earlier

        stored = states(deployment)  # read before the calls: a program that still runs is "begun" here
        ran = {turn_id: notifier.turn_ids().count(turn_id) for turn_id in turns}
        assert max(ran.values()) == 1
        assert stored.keys() >= ran.keys()
        for turn_id in turns:  # only of those that the killed worker had claimed, the program may not have run
            assert ran[turn_id] == 1 or stored[turn_id] == "begun"
        if point == "before_notify":
            assert min(ran.values()) == 0, "the worker was not killed before the program ran"

    for _ in times:
        run_turns()


def states(deployment: Deployment) -> dict[str, str]:
    """Return the state of the notification of each turn, by turn id."""
    with deployment.store.database.read() as connection:
        return {row.data["turnId"]: row.state for row in connection.execute(select(outbox))}


def expire_all_leases(deployment: Deployment) -> None:
    with deployment.store.database.write() as connection:
        connection.execute(update(outbox).values(due_at_ms=0, lease_until_ms=0))


def test_webhook_is_called_again_when_its_worker_is_killed(
    deploy: Callable[..., Deployment], times: range, tmp_path: Path
) -> None:
    with WebhookReceiver() as receiver:
        hook = {"url": receiver.url, "secret": SECRET, "events": ["turn.completed"], "allow_private": True}
        server = {"webhook_timeout_seconds": 5}  # no call fails on a busy machine, and a lease is not long
        deployment = deploy(workers=0, server=server, settings={"webhooks": [hook]}, queues=QUEUES)
        trigger = tmp_path / "trigger"
        workers = [deployment.add_worker(fault=f"after_webhook:kill@{trigger}") for _ in range(2)]
        client = deployment.connect()

        for _ in times:
            trigger.touch()
            turn_id = run_turn(client, start_thread(client), "[[say fine]]")["id"]
            until(lambda: any(not worker.is_running for worker in workers))
            for worker in workers:
                if not worker.is_running:
                    deployment.start_worker(worker)

            until(lambda: not deployment.store.outbox.list_webhooks(["pending"], 1), seconds=90)
            deliveries = [sent for sent in receiver.received if sent.verified()["data"]["turnId"] == turn_id]
            assert len(deliveries) == 2
            assert len({sent.headers["webhook-id"] for sent in deliveries}) == 1
