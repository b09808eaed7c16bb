"""Background jobs: one module per Celery task, and one plain table of them.

A task is a wake-up: it loads everything else from the store, and a claim in the store decides who does the work. So
every docstring of a `run` says what a second delivery does. shared/queue.py enqueues them, and knows their queues and
which of them the scheduler (`threadhouse beat`) enqueues.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from celery import Celery

from workers.services import Services
from workers.tasks import (
    deliver_notify,
    erase,
    make_workspace,
    process_feedback,
    run_call,
    run_turn,
    sweep_retention,
    write_session,
)


class Task(Protocol):
    """What each of these modules defines. run: gets Services and the ids that the task carries."""

    @property
    def NAME(self) -> str: ...

    @property
    def run(self) -> Callable[..., None]: ...


TABLE: tuple[Task, ...] = (
    deliver_notify,
    erase,
    make_workspace,
    process_feedback,
    run_call,
    run_turn,
    sweep_retention,
    write_session,
)
TASKS = {task.NAME: task for task in TABLE}


def register(app: Celery, services: Callable[[], Services]) -> None:
    """Register the tasks with Celery. services: of the process."""
    for name, task in TASKS.items():
        app.task(name=name, shared=False)(_with_services(task.run, services))


def _with_services(run: Callable[..., None], services: Callable[[], Services]) -> Callable[..., None]:
    def task(*ids: Any) -> None:
        run(services(), *ids)

    return task
