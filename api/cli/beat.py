"""threadhouse beat: the scheduler, which enqueues the periodic tasks (workers/tasks)."""

from __future__ import annotations

import logging
import os

import click

from api.cli.options import home_option
from shared import config as configuration
from shared import telemetry
from shared.logs.fields import format_handlers, line_formatter


@click.command()
@home_option
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
    if config.otel.metrics_exporter:
        _observe_turns(config.database_url)
    try:
        app.start(["--quiet", "beat", *scheduler, "--loglevel", config.server.log_level])
    finally:
        telemetry.stop()


def _observe_turns(database_url: str) -> None:
    """Measure the turns of the whole deployment, in the one scheduler that has the lease."""
    from api.cli.leased_scheduler import holds_lease
    from shared.store import Store  # imported late: `threadhouse --help` must not load a database library

    count = Store(database_url).recovery.all_users_count_phases

    def phases() -> dict[str, tuple[int, int]]:
        return count() if holds_lease.is_set() else {}

    telemetry.observe(
        "threadhouse.turns", lambda: [(number, {"state": state}) for state, (number, _) in phases().items()]
    )
    telemetry.observe(
        "threadhouse.turns.age_ms", lambda: [(ms, {"state": state}) for state, (_, ms) in phases().items()]
    )
