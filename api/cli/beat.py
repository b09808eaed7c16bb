"""threadhouse beat: rings the hourly retention sweep; one per deployment."""

from __future__ import annotations

import importlib
import os

import click

from api.cli.options import home_option
from shared import config as configuration
from shared import telemetry


@click.command()
@home_option
def beat() -> None:
    """Ring what is due by the clock (one process per deployment)."""
    config = configuration.load(None, os.environ)
    telemetry.start(config, "beat")
    app = importlib.import_module("workers.app").app  # as in worker.py
    # Nothing is kept between starts: a schedule file that a kill left half written would stop the next start.
    scheduler = ("--scheduler", "celery.beat.Scheduler", "--pidfile", "")
    telemetry.watch_celery(app)
    if config.otel.metrics_exporter:
        _observe_turns(config.database_url)
    try:
        app.start(["beat", *scheduler, "--loglevel", config.server.log_level])
    finally:
        telemetry.stop()


def _observe_turns(database_url: str) -> None:
    """Of the whole deployment, so one process tells."""
    from shared.store import Store  # as in web.py: the command line loads no database

    phases = Store(database_url).turns.all_users_phases
    telemetry.observe("threadhouse.turns", lambda: [(count, {"state": one}) for one, (count, _) in phases().items()])
    telemetry.observe("threadhouse.turns.age_ms", lambda: [(ms, {"state": one}) for one, (_, ms) in phases().items()])
