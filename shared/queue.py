"""The queue: Celery over Redis. A task is a wake-up: it carries an id and decides nothing.

What waits stands in the database. The sweep enqueues lost tasks again, so claim, lease and sweep take the place of
redelivery: Redis forgets a task when a worker takes it, and stores no results.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import orjson
import redis
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel

from shared import redis_clients
from shared.errors import Unavailable
from shared.event_names import TURNS_QUEUE

logger = logging.getLogger(__name__)

# A worker whose connection breaks between taking a task and running it sends nothing back: kombu (5.7) would try that
# on the closed connection, and the error would end the worker.
Channel.do_restore = False

_make_client: Callable[..., redis.Redis] = Channel._create_client


def _keep_client(channel: Any, asynchronous: bool = False) -> redis.Redis:
    """Return the client over a channel's pool; kombu (5.7) would make one for each task, a quarter of the work."""
    if asynchronous:
        return _make_client(channel, asynchronous=True)
    kept: redis.Redis | None = getattr(channel, "kept_client", None)
    if kept is None or kept.connection_pool is not channel.pool:
        kept = channel.kept_client = _make_client(channel)
    return kept


Channel._create_client = _keep_client  # type: ignore[method-assign]

# Names of the tasks; workers/tasks has a module for each.
RUN_TURN = "turn.run"
RUN_CALL = "call.run"
PROCESS_FEEDBACK = "feedback.process"
WRITE_SESSION = "session.write"
ERASE = "erasure.run"
DELIVER = "notify.deliver"
MAKE_WORKSPACE = "workspace.make"
SWEEP_RETENTION = "retention.sweep"
OWN_QUEUES = {RUN_TURN: TURNS_QUEUE, RUN_CALL: "calls", PROCESS_FEEDBACK: "feedback"}
EVERY_SECONDS = {SWEEP_RETENTION: 3600.0}  # of the periodic tasks, which the scheduler (`threadhouse beat`) enqueues
BACKGROUND = "background"  # the queue of all other tasks
QUEUES = (*OWN_QUEUES.values(), BACKGROUND)
BROKER_CONNECTIONS = 100  # kept open by one process; a sender that finds none free waits
BROKER_SECONDS = 3  # after which a Redis that does not answer counts as lost; its host may have vanished silently
WAKE_UPS_BYTES = 1 << 20  # of one queue in Redis, about 1000 tasks; the sweep enqueues again what was left out
CALLS_BYTES = 256 << 20  # of the queue of worker calls, which carry their params
BEAT_SLEEP_SECONDS = 1  # of the scheduler: a signal that comes just before it sleeps is handled after the sleep
SESSION_FILES_AT_ONCE = 20  # in one task: taking a task costs more than writing a short thread
CHECK_EVERY = 100  # tasks that one process enqueues between two looks at a queue's size


def make_celery(redis_url: str) -> Celery:
    """Return a Celery application that routes each task to its queue. It connects when it is first used."""
    url, options = redis_clients.broker(redis_url)
    app = Celery("threadhouse", broker=url)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=False,
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "ack_emulation": False,
            "max_connections": 1000,
            "socket_connect_timeout": BROKER_SECONDS,
            "socket_timeout": BROKER_SECONDS,
            "health_check_interval": BROKER_SECONDS,  # of a worker that waits for a task
            **options,
        },
        broker_pool_limit=BROKER_CONNECTIONS,
        task_serializer="json",
        accept_content=["json"],
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,  # nothing asks workers through Redis; one connection and queue less each
        beat_max_loop_interval=BEAT_SLEEP_SECONDS,
        task_default_queue=BACKGROUND,
        beat_schedule={name: {"task": name, "schedule": seconds} for name, seconds in EVERY_SECONDS.items()},
        task_routes={name: {"queue": queue} for name, queue in OWN_QUEUES.items()},
    )
    return app


class Queue:
    """Enqueues Celery tasks. Except for calls, a failure is harmless: the sweep enqueues the task again.

    A queue that no worker takes from stops growing: a task for a full queue is left out.
    """

    def __init__(self, app: Celery, client: redis.Redis) -> None:
        """client: of the Redis that has the queues."""
        self._app = app
        self._client = client
        self._unchecked = dict.fromkeys(QUEUES, 0)  # queue → tasks that may follow before its size is looked at

    def enqueue_turn(self, turn_id: str) -> None:
        """Wake a worker for a waiting turn. turn_id is for the trace; the claim decides which turn runs.

        Errors: kombu.exceptions.OperationalError
        """
        self._wake(RUN_TURN, turn_id)

    def enqueue_session_files(self, thread_ids: Iterable[str]) -> None:
        """Have the session files of threads written again. Errors: kombu.exceptions.OperationalError."""
        remaining = iter(thread_ids)
        while some := tuple(itertools.islice(remaining, SESSION_FILES_AT_ONCE)):
            self._wake(WRITE_SESSION, *some)

    def enqueue_delivery(self) -> None:
        """Wake a worker for due deliveries (webhooks, the notify program). Without Redis the sweep does it later."""
        with suppress(OperationalError):
            self._wake(DELIVER)

    def enqueue_workspace(self, thread_id: str, owner: str) -> None:
        """Have a thread's workspace made ahead of its first turn, which would make it otherwise.

        Errors: kombu.exceptions.OperationalError
        """
        self._wake(MAKE_WORKSPACE, thread_id, owner)

    def enqueue_feedback(self, report_id: str) -> None:
        """Wake a worker for a stored report. report_id is for the trace; the claim decides which report is processed.

        Errors: kombu.exceptions.OperationalError
        """
        self._wake(PROCESS_FEEDBACK, report_id)

    def enqueue_erasure(self) -> None:
        """Wake a worker for stored erasures. Errors: kombu.exceptions.OperationalError."""
        self._wake(ERASE)

    def enqueue_call(self, call_id: str, kind: str, params: object, owner: str, *, expires_s: float) -> None:
        """Enqueue a worker call: the one task that carries its work, because a call is not stored and its caller waits.

        expires_s: seconds after which no worker begins it any more
        Errors:    Unavailable
        """
        if self._is_full(OWN_QUEUES[RUN_CALL], CALLS_BYTES, check_every=1):
            raise Unavailable("the queue of worker calls is full: try again, or start a worker that serves it")
        try:
            self._send(RUN_CALL, call_id, kind, params, owner, expires=expires_s)
        except OperationalError as error:
            raise Unavailable("the queue in Redis does not answer: try again") from error

    def count_deliveries(self) -> int:
        """Return how many wake-ups for deliveries wait. Errors: redis.RedisError."""
        return self._count(DELIVER)

    def count_erasures(self) -> int:
        """Return how many wake-ups for erasures wait. Errors: redis.RedisError."""
        return self._count(ERASE)

    def _count(self, name: str) -> int:
        """Return how many tasks of one name wait. A queue of wake-ups is small enough to be read as a whole."""
        waiting: Any = self._client.lrange(OWN_QUEUES.get(name, BACKGROUND), 0, -1)
        return sum(orjson.loads(message)["headers"]["task"] == name for message in waiting)

    def _wake(self, name: str, *args: object) -> None:
        """Enqueue a task that the sweep enqueues again, unless its queue is full."""
        if not self._is_full(OWN_QUEUES.get(name, BACKGROUND), WAKE_UPS_BYTES, check_every=CHECK_EVERY):
            self._send(name, *args)

    def _is_full(self, queue: str, most_bytes: int, *, check_every: int) -> bool:
        """Return whether a queue is full, as of at most check_every tasks of this process ago."""
        self._unchecked[queue] -= 1
        if self._unchecked[queue] >= 0:
            return False
        try:
            size = self._client.memory_usage(queue, samples=0) or 0
        except redis.RedisError:
            return False  # sending fails by itself while Redis is away
        if size < most_bytes:
            self._unchecked[queue] = check_every - 1
            return False
        if self._unchecked[queue] == -1:
            logger.warning("queue full, tasks left out until a worker takes from it: %s", queue)
        return True

    def _send(self, name: str, *args: object, **options: object) -> None:
        # Nothing to declare: kombu puts a task straight into the queue that routes name, whoever takes from it. Celery
        # would send the arguments a second time, as a text for people; nobody reads it.
        self._app.send_task(name, args=args, argsrepr="", kwargsrepr="", retry=False, declare=(), **options)
