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
    try:
        app.start(["beat", *scheduler, "--loglevel", config.server.log_level])
    finally:
        telemetry.stop()
