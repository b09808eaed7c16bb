"""The queue: Celery over Redis. A task is a doorbell: it carries an id and decides nothing.

Redelivery is ours (claim, lease, sweep), so Celery acknowledges early and keeps no results.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from shared.errors import Unavailable

QUEUES = ("turns", "calls", "feedback", "background")
RUN_TURN = "turn.run"
RUN_CALL = "call.run"
PROCESS_FEEDBACK = "feedback.process"
SWEEP_RETENTION = "retention.sweep"
WRITE_SESSION = "session.write"
ERASE = "erasure.run"
DELIVER = "notify.deliver"
MAKE_WORKSPACE = "workspace.make"
SWEEP_EVERY_SECONDS = 3600
BROKER_CONNECTIONS = 100  # of one process, kept open; who needs one more waits


def make_celery(redis_url: str) -> Celery:
    """A Celery application that knows the names and queues of all tasks; it connects when it is first used."""
    app = Celery("threadhouse", broker=redis_url.replace("unix://", "redis+socket://", 1))
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"max_connections": 1000, "socket_connect_timeout": 5},
        broker_pool_limit=BROKER_CONNECTIONS,
        task_serializer="json",
        accept_content=["json"],
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        task_default_queue="background",
        task_routes={
            "turn.*": {"queue": "turns"},
            "call.*": {"queue": "calls"},
            "feedback.*": {"queue": "feedback"},
            "notify.*": {"queue": "background"},
            "session.*": {"queue": "background"},
            "workspace.*": {"queue": "background"},
            "erasure.*": {"queue": "background"},
            "retention.*": {"queue": "background"},
        },
        beat_schedule={"retention": {"task": SWEEP_RETENTION, "schedule": float(SWEEP_EVERY_SECONDS)}},
    )
    return app


class Queue:
    """Rings doorbells. A bell that cannot be rung is not an error: the sweep rings again."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def ring_turn(self, turn_id: str) -> None:
        """A turn waits. turn_id is for the trace; the claim decides which turn runs."""
        self._send(RUN_TURN, turn_id)

    def write_session(self, thread_id: str) -> None:
        """A thread's session file is behind."""
        self._send(WRITE_SESSION, thread_id)

    def ring_outbox(self) -> None:
        """Something is due for webhooks or the notify program. Without Redis the sweep rings."""
        with suppress(OperationalError):
            self._send(DELIVER)

    def make_workspace(self, thread_id: str, owner: str) -> None:
        """A thread's workspace can be made already; its first turn does it otherwise."""
        self._send(MAKE_WORKSPACE, thread_id, owner)

    def process_feedback(self, report_id: str) -> None:
        """A report waits. report_id is for the trace; the claim decides which one is taken."""
        self._send(PROCESS_FEEDBACK, report_id)

    def erase(self) -> None:
        """Something is to be erased."""
        self._send(ERASE)

    def run_call(self, call_id: str, kind: str, params: Any, owner: str, *, expires_s: float) -> None:
        """The one task that carries its work: a call is not stored, and its caller waits. Errors: Unavailable."""
        try:
            self._send(RUN_CALL, call_id, kind, params, owner, expires=expires_s)
        except OperationalError as error:
            raise Unavailable("the queue does not answer; try again") from error

    def _send(self, name: str, *args: Any, **options: Any) -> None:
        self._app.send_task(name, args=args, retry=False, **options)
