"""threadhouse migrate: bring the database to the schema of this version."""

from __future__ import annotations

import os

import click

from api.cli.options import home_option
from shared import config as configuration


@click.command()
@home_option
def migrate() -> None:
    """Bring the database to the schema of this version; run it before the new version starts."""
    from shared.store import connection

    config = configuration.load(None, os.environ)
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.umask(0o077)  # an SQLite file holds everybody's threads, and the folder may have been made by somebody else
    connection.migrate(config.database_url)
