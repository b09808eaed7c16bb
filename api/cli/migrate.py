"""threadhouse migrate: create the database, or migrate it to the schema of this version."""

from __future__ import annotations

import os

import click

from api.cli.host import SCHEMA_OUT_OF_DATE, database_exists, database_name, private_files
from api.cli.options import home_option
from shared import config as configuration
from shared.errors import ConfigError, Unavailable


@click.command()
@home_option
@click.option(
    "--check", is_flag=True, help="Change nothing; exit with 1 if this version cannot work with the database's schema."
)
def migrate(check: bool) -> None:
    """Migrate the database to the schema of this version. Run it before starting the new version."""
    from sqlalchemy.exc import SQLAlchemyError

    from shared.store import migrations

    config = configuration.load(None, os.environ)
    if check:
        try:
            suffices = database_exists(config) and migrations.schema_suffices(config.database_url)
        except SQLAlchemyError as error:
            raise Unavailable(f"the database does not answer ({type(error).__name__}): try again") from error
        if not suffices:
            raise ConfigError(SCHEMA_OUT_OF_DATE)
        click.echo(f"{database_name(config)} has the schema of this version, or of a later one")
        return
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with private_files():  # a SQLite file has the threads of all users, and the folder may be readable for others
        before, after = migrations.migrate(config.database_url)
    name = database_name(config)
    if before is None:
        click.echo(f"created {name} with schema {after}")
    elif before == after:
        click.echo(f"{name} has schema {after} already")
    else:
        click.echo(f"migrated {name} from schema {before} to {after}")
