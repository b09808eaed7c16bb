"""The table of background jobs: each task is enqueued by the code or by the scheduler, and has a queue."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from celery import Celery

from shared.queue import OWN_QUEUES, QUEUES, Queue, make_celery
from workers.tasks import TASKS, register


class EmptyRedis:
    def memory_usage(self, queue: str, samples: int) -> None:
        return None


@pytest.fixture
def app() -> Celery:
    """Return a Celery application with all tasks and without a broker."""
    made = make_celery("redis://127.0.0.1:1/0")
    register(made, lambda: pytest.fail("no task runs here"))
    return made


def enqueued_by_code() -> set[str]:
    """Return the names of the tasks that Queue enqueues."""
    names: set[str] = set()

    class Sender:
        def send_task(self, name: str, **_: object) -> None:
            names.add(name)

    sender: Any = Sender()
    client: Any = EmptyRedis()
    queue = Queue(sender, client)
    queue.enqueue_turn("T")
    queue.enqueue_session_files(["T"])
    queue.enqueue_delivery()
    queue.enqueue_workspace("T", "ann")
    queue.enqueue_feedback("R")
    queue.enqueue_erasure()
    queue.enqueue_call("C", "fs/readFile", {}, "ann", expires_s=10)
    return names


def test_every_task_that_is_enqueued_is_in_the_table(app: Celery) -> None:
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}

    assert scheduled | enqueued_by_code() == TASKS.keys() <= app.tasks.keys()


def test_the_scheduler_enqueues_the_periodic_tasks_alone(app: Celery) -> None:
    schedule = {entry["task"]: entry["schedule"] for entry in app.conf.beat_schedule.values()}

    assert schedule["retention.sweep"] == 3600
    assert schedule.keys() & enqueued_by_code() == set()


@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_routed_to_a_queue_that_is_served(app: Celery, name: str) -> None:
    queue = app.amqp.router.route({}, name)["queue"].name

    assert queue in QUEUES
    assert queue == OWN_QUEUES.get(name, "background")


@pytest.mark.parametrize("name", TASKS)
def test_a_task_says_what_a_second_delivery_does(name: str) -> None:
    assert "edeliver" in (inspect.getdoc(TASKS[name].run) or "")
