"""What `celery -A workers.app` loads: the tasks, and how a worker process starts, drains and stops.

Owns the process's Services, Sweep and Reporter. The tasks are in workers/tasks/__init__.py.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from celery import signals
from sqlalchemy.exc import SQLAlchemyError

from shared import telemetry
from shared.config import load
from shared.config.feedback import redaction
from shared.errors import SandboxUnavailable
from shared.logs import log_redaction, turn_logs
from shared.logs.fields import format_handlers, line_formatter
from shared.queue import make_celery
from shared.store.outages import outage_reason
from workers.control import fault_points
from workers.priority import give_way
from workers.reporter import Reporter
from workers.runner import host
from workers.runner.hardening import disable_inspection
from workers.sandbox import runner
from workers.services import Services
from workers.sweep import Sweep
from workers.tasks import register

TASK_LOGGERS = ("celery.worker.strategy", "celery.app.trace")  # two lines per task: a wake-up is no event of a turn
STOP_SECONDS = 5.0  # for what is left to store and publish
REPORT_STOP_SECONDS = 2.0  # for the row of this process to be removed; otherwise it counts as lost

logger = logging.getLogger(__name__)

config = load(None, os.environ)
app = make_celery(config.redis_url)
_process: tuple[Services, Sweep] | None = None
_reporter: Reporter | None = None  # from the moment at which the worker is ready


def services() -> Services:
    """Return the services of this process; they exist once the worker is ready."""
    assert _process is not None
    return _process[0]


register(app, services)


def replace_worker(name: str | None) -> None:
    """Let the turns and background terminals of a worker that has ended be taken over now. None: there was none."""
    if name is None:
        return
    try:
        count = services().store.recovery.all_users_end_leases(name)
    except SQLAlchemyError as error:
        logger.warning("leases of the worker before not ended, they run out: %s", outage_reason(error))
        return
    if count:
        logger.warning("worker before this one was killed, %d of its turns and terminals are taken over", count)


@signals.after_setup_logger.connect  # type: ignore[untyped-decorator]
@signals.after_setup_task_logger.connect  # type: ignore[untyped-decorator]
def print_fields(logger: logging.Logger, **_: Any) -> None:
    """Print log lines as all processes do; Celery's own formatter leaves the fields out."""
    format_handlers(logger, line_formatter(config.server.log_format, "worker"))
    if config.server.log_level != "debug":
        for name in TASK_LOGGERS:
            logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_init.connect  # type: ignore[untyped-decorator]
def start(**_: Any) -> None:
    """Build the process's services before the first task."""
    global _process
    give_way(config.server.worker_niceness)
    log_redaction.install(redaction(config))
    fault_points.arm(os.environ.get("THREADHOUSE_FAULT"))
    disable_inspection()
    server = config.server
    # What holds no lease of its own may serve a turn whose lease was renewed renewal_seconds before the worker stopped.
    unleased_s = server.authority_seconds - server.renewal_seconds
    runner.configure(server.tool_runner, server.log_format, unleased_s)
    try:
        runner.connect().close()  # so that the first command finds it started
    except SandboxUnavailable as error:
        logger.error("tool runner unavailable: %s", error)
    telemetry.start(config, "worker")
    telemetry.watch_celery(app)
    built = Services(config, app)
    for store in (built.store, built.journal_store):
        telemetry.watch_engine(store.database.engine)
    sweep = Sweep(built)
    _process = (built, sweep)
    turn_logs.install(built.redis)
    built.start()
    sweep.start()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def report(**_: Any) -> None:
    """Begin to report this process: it takes tasks now, and Celery knows its queues."""
    global _reporter
    _reporter = Reporter(services(), list(app.amqp.queues.consume_from))
    _reporter.start()


@signals.worker_ready.connect  # type: ignore[untyped-decorator]
def warn_of_unlimited_memory(**_: Any) -> None:
    """Log a warning if the commands of users share a host that does not limit their memory.

    This comes after `start`, because Celery sets up the log in between.
    """
    try:
        if config.auth is None and not services().store.users.exist():
            return
        reason = host.why_memory_is_unlimited()
    except (SQLAlchemyError, SandboxUnavailable):
        return  # reported where it matters
    if reason is not None:
        logger.warning(
            "memory of commands is watched, not limited (%s): any user's command can exhaust this host for a moment. "
            "Run the server in a systemd unit with `Delegate=yes`, on cgroup v2; `threadhouse doctor` proves it",
            reason,
        )


@signals.worker_shutting_down.connect  # type: ignore[untyped-decorator]
def drain(**_: Any) -> None:
    """Drain on SIGTERM or SIGINT. Celery calls this in a signal handler, so another thread does the work."""
    if _process is not None:
        threading.Thread(target=_drain, args=(_process[0], _reporter), name="drain").start()


def _drain(running: Services, reporter: Reporter | None) -> None:
    running.drain()
    if reporter is not None:
        reporter.report_soon()


@signals.worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**_: Any) -> None:
    """Store and publish what is left, after all tasks have ended."""
    if _process is not None:
        running, sweep = _process
        sweep.stop()
        if _reporter is not None:
            _reporter.stop(REPORT_STOP_SECONDS)
        running.close(STOP_SECONDS)
    telemetry.stop()
