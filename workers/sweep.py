"""The sweep: finds what a lost process left behind, in every worker process, every few seconds.

Owns no state: each part reads the store, and is harmless when several processes run it at once.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import redis
from sqlalchemy.exc import SQLAlchemyError

from shared import alerts, telemetry
from shared.events import durable_events
from workers.services import Services

logger = logging.getLogger(__name__)

DECLINED = {"decision": "decline"}  # the answer to a request that expired
MAX_WAKE_UPS = 20  # per sweep and queue; one task handles more than one due record
JITTER = 0.3  # of the period, so that processes do not sweep in step


class Sweep:
    """The thread that sweeps until the process ends."""

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
            for part in (
                recover,
                expire,
                end_interrupted,
                end_terminals,
                publish_missing,
                wake_workers,
                enqueue_deliveries,
                enqueue_feedback,
                enqueue_session_files,
                enqueue_erasures,
                watch,
            ):
                try:
                    part(self._services)
                except (SQLAlchemyError, redis.RedisError) as error:
                    logger.warning("sweep part failed, retrying: %s: %s", part.__name__, error)
                except Exception:  # the thread must live
                    logger.exception("sweep part failed, retrying: %s", part.__name__)


def recover(services: Services) -> None:
    """Queue turns again whose lease ran out; end those that were lost too often."""
    requeued, failed = services.store.recovery.all_users_requeue_lost(
        max_lost_attempts=services.config.server.max_lost_attempts
    )
    for turn in requeued:
        logger.warning("worker lost, turn requeued", extra={"turn_id": turn.id})
        telemetry.turn_recovered(turn, partial(services.store.threads.all_users_settings, turn.thread_id))
    for turn in failed:
        logger.error("too many workers lost, turn failed", extra={"turn_id": turn.id})
        find_settings = partial(services.store.threads.all_users_settings, turn.thread_id)
        telemetry.turn_ended(turn, find_settings, turn.status, turn.error)
        durable_events.publish_missing(services.store, services.log, turn)
    if requeued or failed:
        services.store.alerts.add(alerts.LEASES_LOST, "A worker was lost or silent, and others took its turns.")


def expire(services: Services) -> None:
    """Decline requests that were not answered in time."""
    for turn in services.store.recovery.all_users_expire_approvals(DECLINED):
        logger.info("approval request expired", extra={"turn_id": turn.id})


def end_interrupted(services: Services) -> None:
    """End turns that are parked although somebody has interrupted them."""
    for turn in services.store.recovery.all_users_end_interrupted():
        logger.warning("parked turn interrupted, turn ended", extra={"turn_id": turn.id})
        find_settings = partial(services.store.threads.all_users_settings, turn.thread_id)
        telemetry.turn_ended(turn, find_settings, turn.status, turn.error)
        durable_events.publish_missing(services.store, services.log, turn)


def end_terminals(services: Services) -> None:
    """End background terminals of lost workers, publish ends that nobody has published, and forget what is over."""
    terminals = services.store.terminals
    lost = terminals.all_users_end_lost()
    for terminal, _ in lost:
        ids = {"turn_id": terminal.turn_id, "item_id": terminal.item_id}
        logger.warning("worker lost, background terminal ended", extra=ids)
    for terminal, item in [*lost, *terminals.all_users_unpublished()]:
        with _alone("end of a terminal", terminal.turn_id):
            durable_events.publish_end(services.store, services.log, item, terminal.owner)
    terminals.all_users_forget()


def publish_missing(services: Services) -> None:
    """Publish what was stored and never published."""
    for turn in services.store.recovery.all_users_unpublished():
        with _alone("events of a turn", turn.id):
            durable_events.publish_missing(services.store, services.log, turn)


@contextmanager
def _alone(what: str, turn_id: str) -> Iterator[None]:
    """Log an unexpected error: what comes behind must not wait for rows that nobody can read. Others are raised."""
    try:
        yield
    except (SQLAlchemyError, redis.RedisError):
        raise
    except Exception:
        logger.exception("%s not published", what, extra={"turn_id": turn_id})


def wake_workers(services: Services) -> None:
    """Enqueue one wake-up per turn that may run now, minus those already queued."""
    claimable = services.store.claims.all_users_count_claimable(turns_at_once=services.config.limits.turns_at_once)
    if claimable:
        for _ in range(claimable - services.redis.llen("turns")):
            services.queue.enqueue_turn("")


def enqueue_deliveries(services: Services) -> None:
    """Enqueue one task per due delivery to webhooks and the notify program, minus those already queued."""
    due = services.store.outbox.count_due(MAX_WAKE_UPS)
    if due:
        for _ in range(due - services.queue.count_deliveries()):
            services.queue.enqueue_delivery()


def enqueue_feedback(services: Services) -> None:
    """Enqueue one task per waiting feedback report, minus those already queued."""
    waiting = services.store.feedback.all_users_count_due()
    if waiting:
        for _ in range(min(waiting, MAX_WAKE_UPS) - services.redis.llen("feedback")):
            services.queue.enqueue_feedback("")


def enqueue_session_files(services: Services) -> None:
    """Enqueue session files of threads that changed a moment ago."""
    if services.config.server.sessions_dir is not None:
        services.queue.enqueue_session_files(services.store.threads.all_users_due_sessions())


def enqueue_erasures(services: Services) -> None:
    """Enqueue the erasure of deleted threads that still have events or files, unless a task for it waits."""
    if services.store.erasures.all_users_due() and not services.queue.count_erasures():
        services.queue.enqueue_erasure()


def watch(services: Services) -> None:
    """Store what is wrong with the deployment, such as that no scheduler runs."""
    alerts.watch(services.store, services.redis, turns_at_once=services.config.limits.turns_at_once)
