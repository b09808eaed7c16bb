"""threadhouse beat: the scheduler, which enqueues the periodic tasks (workers/tasks)."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from api.cli.options import home_option, log_format_option
from shared import config as configuration
from shared import telemetry
from shared.config import Config
from shared.logs.fields import format_handlers, line_formatter

if TYPE_CHECKING:
    from celery import Celery

    from shared.store import Store

SCHEDULER = "api.cli.leased_scheduler.LeasedScheduler"
STOP_SECONDS = 5.0  # for a thread to give the lease back; otherwise it runs out

logger = logging.getLogger(__name__)


@click.command()
@home_option
@log_format_option
def beat() -> None:
    """Run the scheduler. A second one stands by and replaces the first within 30 seconds."""
    config = configuration.load(None, os.environ)
    telemetry.start(config, "beat")
    # Imported late: `threadhouse --help` must not load Celery. But not as late as the first signal, whose handler in
    # Celery would find the module half imported by what it interrupts.
    import celery.app.amqp  # noqa: F401
    from celery.signals import after_setup_logger

    from shared.queue import make_celery

    app = make_celery(config.redis_url)
    formatter = line_formatter(config.server.log_format, "beat")

    def format_lines(logger: logging.Logger, **_: object) -> None:
        format_handlers(logger, formatter)

    after_setup_logger.connect(format_lines, weak=False)
    telemetry.watch_celery(app)
    _watch_deployment(config)
    try:
        # The schedule is kept in memory: a schedule file that a kill left half written would prevent the next start.
        scheduler = ("--scheduler", SCHEDULER, "--pidfile", "")
        app.start(["--quiet", "beat", *scheduler, "--loglevel", config.server.log_level])
    finally:
        telemetry.stop()


def start_in_thread(app: Celery, config: Config, note_failure: Callable[[], None]) -> Callable[[], None]:
    """Run the scheduler in a thread of a worker: 65 MiB less than a process. Returns what stops it.

    note_failure: called when an error has ended the scheduler; then the worker is asked to stop, as by its supervisor
    """
    from celery.beat import Service

    service = Service(app, scheduler_cls=SCHEDULER)

    def run() -> None:
        try:
            service.start()
        except Exception:
            logger.exception("scheduler failed, ending the worker")
            note_failure()
            os.kill(os.getpid(), signal.SIGTERM)

    def stop() -> None:
        service.stop()
        thread.join(STOP_SECONDS)

    _watch_deployment(config)
    thread = threading.Thread(target=run, name="beat", daemon=True)
    thread.start()
    return stop


def _watch_deployment(config: Config) -> None:
    """Measure the deployment and store what is wrong with it while the scheduler of this process has the lease."""
    store = _open_store(config)
    if config.otel.measures:
        _observe_deployment(config, store)
    _start_watching(config, store)


def _open_store(config: Config) -> Store:
    from api.cli import deployment_metrics
    from shared.store import Store  # imported late: `threadhouse --help` must not load a database library
    from shared.store.connection import Database

    seconds = deployment_metrics.READ_SECONDS
    return Store(config.database_url, open_database=lambda url: Database(url, answer_seconds=seconds))


def _observe_deployment(config: Config, store: Store) -> None:
    """Measure the whole deployment, in the one scheduler that has the lease."""
    from api.cli import deployment_metrics
    from api.cli.leased_scheduler import holds_lease

    deployment_metrics.observe(store, config.limits.turns_at_once, holds_lease.is_set)


def _start_watching(config: Config, store: Store) -> None:
    """Store what is wrong with the deployment while this scheduler has the lease, until the process ends."""
    # Not imported by the thread: Celery's modules import each other, and the main thread imports them, too.
    from sqlalchemy.exc import SQLAlchemyError

    from api.cli.leased_scheduler import REDIS_SECONDS, holds_lease
    from shared import alerts, redis_clients
    from shared.store.outages import outage_reason

    client = redis_clients.connect(config.redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
    pause = threading.Event()

    def watch() -> None:
        while not pause.wait(alerts.EVERY_SECONDS):
            if not holds_lease.is_set():
                continue
            try:
                alerts.watch(store, client, turns_at_once=config.limits.turns_at_once)
            except SQLAlchemyError as error:
                logger.warning("problems not looked for, trying again: %s", outage_reason(error))
            except Exception:  # the thread must live
                logger.exception("problems not looked for")

    threading.Thread(target=watch, name="watch", daemon=True).start()
