"""The sweep: what a process that died left behind is found here, by every worker process, every few seconds."""

from __future__ import annotations

import logging
import random
import threading

import redis
from sqlalchemy.exc import SQLAlchemyError

from shared import announcements, telemetry
from workers.services import Services

logger = logging.getLogger(__name__)

DECLINED = {"decision": "decline"}  # a question that nobody answered in time
MAX_BELLS = 20  # that one sweep rings for what is due; each bell takes more than one
JITTER = 0.3  # of the period, so that processes do not sweep in step


class Sweep:
    """A thread that sweeps until the process ends."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        period = self._services.config.server.sweep_seconds
        while not self._stopped.wait(period * random.uniform(1 - JITTER, 1)):
            for part in (recover, expire, announce, ring, deliver, ring_feedback, write_sessions, erase):
                try:
                    part(self._services)
                except (SQLAlchemyError, redis.RedisError) as error:
                    logger.warning("sweep: %s did not work: %s", part.__name__, error)
                except Exception:  # the thread must live
                    logger.exception("sweep: %s failed", part.__name__)


def recover(services: Services) -> None:
    """Turns whose lease ran out are queued again; those that were lost too often end."""
    again, failed = services.store.turns.all_users_recover(max_lost=services.config.server.max_lost)
    for turn in again:
        logger.warning("a worker was lost; its turn is queued again", extra={"turn_id": turn.id})
        telemetry.turn_recovered(turn.id, turn.thread_id, turn.owner)
    for turn in failed:
        logger.error("a turn was given up", extra={"turn_id": turn.id})
        telemetry.turn_ended(turn.id, turn.thread_id, turn.owner, turn.status, turn.created_at_ms, turn.error)
        announcements.announce(services.store, services.log, turn)


def expire(services: Services) -> None:
    """Questions that nobody answered in time are declined."""
    for turn in services.store.turns.all_users_expire(DECLINED):
        logger.info("an approval expired", extra={"turn_id": turn.id})


def announce(services: Services) -> None:
    """What was stored and never published."""
    for turn in services.store.turns.all_users_untold():
        announcements.announce(services.store, services.log, turn)


def ring(services: Services) -> None:
    """As many bells as turns wait, less those that hang in the queue already."""
    waiting = services.store.turns.all_users_waiting()
    if waiting:
        rung = services.redis.llen("turns")
        for _ in range(waiting - rung):
            services.queue.ring_turn("")


def deliver(services: Services) -> None:
    """What is due for webhooks and the notify program."""
    due = services.store.outbox.count_due(MAX_BELLS)
    if due:
        for _ in range(due - services.redis.llen("background")):
            services.queue.ring_outbox()


def ring_feedback(services: Services) -> None:
    """The same for reports."""
    waiting = services.store.feedback.all_users_count_due()
    if waiting:
        for _ in range(min(waiting, MAX_BELLS) - services.redis.llen("feedback")):
            services.queue.process_feedback("")


def write_sessions(services: Services) -> None:
    """Session files of threads whose turns ended a moment ago."""
    if services.config.server.sessions_dir is not None:
        for thread_id in services.store.threads.all_users_due_sessions():
            services.queue.write_session(thread_id)


def erase(services: Services) -> None:
    """What was deleted and still has events or files somewhere."""
    if services.store.erasures.all_users_due():
        services.queue.erase()
