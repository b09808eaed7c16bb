"""threadhouse beat: rings the hourly retention sweep; one per deployment."""

from __future__ import annotations

import importlib
import os

import click

from api.cli.embedded_redis import private_folder
from api.cli.options import home_option
from shared import config as configuration


@click.command()
@home_option
def beat() -> None:
    """Ring what is due by the clock (one process per deployment)."""
    config = configuration.load(None, os.environ)
    private_folder(config.home / "run")
    app = importlib.import_module("workers.app").app  # as in worker.py
    app.start(
        [
            "beat",
            *("--schedule", str(config.home / "run" / "beat-schedule"), "--pidfile", ""),
            *("--loglevel", config.server.log_level),
        ]
    )
