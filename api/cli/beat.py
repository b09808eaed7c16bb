"""threadhouse beat: the scheduler, which enqueues the periodic tasks (workers/tasks)."""

from __future__ import annotations

import os

import click

from api.cli.options import home_option
from shared import config as configuration
from shared import telemetry


@click.command()
@home_option
def beat() -> None:
    """Run the scheduler (exactly one per deployment)."""
    config = configuration.load(None, os.environ)
    telemetry.start(config, "beat")
    from shared.queue import make_celery  # imported late: `threadhouse --help` must not load Celery

    app = make_celery(config.redis_url)
    # The schedule is kept in memory: a schedule file that a kill left half written would prevent the next start.
    scheduler = ("--scheduler", "celery.beat.Scheduler", "--pidfile", "")
    telemetry.watch_celery(app)
    if config.otel.metrics_exporter:
        _observe_turns(config.database_url)
    try:
        app.start(["beat", *scheduler, "--loglevel", config.server.log_level])
    finally:
        telemetry.stop()


def _observe_turns(database_url: str) -> None:
    """Measure the turns of the whole deployment; beat does it because exactly one of it runs."""
    from shared.store import Store  # imported late: `threadhouse --help` must not load a database library

    phases = Store(database_url).recovery.all_users_count_phases
    telemetry.observe(
        "threadhouse.turns", lambda: [(count, {"state": state}) for state, (count, _) in phases().items()]
    )
    telemetry.observe(
        "threadhouse.turns.age_ms", lambda: [(ms, {"state": state}) for state, (_, ms) in phases().items()]
    )
