"""threadhouse beat: the scheduler, which enqueues the periodic tasks (workers/tasks)."""

from __future__ import annotations

import logging
import os

import click

from api.cli.options import home_option, log_format_option
from shared import config as configuration
from shared import telemetry
from shared.config import Config
from shared.logs.fields import format_handlers, line_formatter


@click.command()
@home_option
@log_format_option
def beat() -> None:
    """Run the scheduler. A second one stands by and replaces the first within 30 seconds."""
    config = configuration.load(None, os.environ)
    telemetry.start(config, "beat")
    from celery.signals import after_setup_logger  # imported late: `threadhouse --help` must not load Celery

    from shared.queue import make_celery

    app = make_celery(config.redis_url)
    formatter = line_formatter(config.server.log_format, "beat")

    def format_lines(logger: logging.Logger, **_: object) -> None:
        format_handlers(logger, formatter)

    after_setup_logger.connect(format_lines, weak=False)
    # The schedule is kept in memory: a schedule file that a kill left half written would prevent the next start.
    scheduler = ("--scheduler", "api.cli.leased_scheduler.LeasedScheduler", "--pidfile", "")
    telemetry.watch_celery(app)
    if config.otel.measures:
        _observe_deployment(config)
    try:
        app.start(["--quiet", "beat", *scheduler, "--loglevel", config.server.log_level])
    finally:
        telemetry.stop()


def _observe_deployment(config: Config) -> None:
    """Measure the whole deployment, in the one scheduler that has the lease."""
    from api.cli import deployment_metrics
    from api.cli.leased_scheduler import holds_lease
    from shared.store import Store  # imported late: `threadhouse --help` must not load a database library
    from shared.store.connection import Database

    seconds = deployment_metrics.READ_SECONDS
    store = Store(config.database_url, open_database=lambda url: Database(url, answer_seconds=seconds))
    deployment_metrics.observe(store, config.limits.turns_at_once, holds_lease.is_set)
