"""threadhouse migrate: create the database, or migrate it to the schema of this version."""

from __future__ import annotations

import os

import click

from api.cli.host import database_name
from api.cli.options import home_option
from shared import config as configuration


@click.command()
@home_option
def migrate() -> None:
    """Migrate the database to the schema of this version. Run it before starting the new version."""
    from shared.store import migrations

    config = configuration.load(None, os.environ)
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.umask(0o077)  # a SQLite file has the threads of all users, and the folder may be readable for others
    before, after = migrations.migrate(config.database_url)
    name = database_name(config)
    if before is None:
        click.echo(f"created {name} with schema {after}")
    elif before == after:
        click.echo(f"{name} has schema {after} already")
    else:
        click.echo(f"migrated {name} from schema {before} to {after}")
