"""threadhouse users: who may use a server. The first user closes it to everybody without a key."""

from __future__ import annotations

import os

import click

from api.cli.options import home_option
from api.cli.user_limits import limits
from shared import config as configuration


@click.group()
def users() -> None:
    """The people who may use this server."""


users.add_command(limits)


@users.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["member", "admin"]), default="member", show_default=True)
@home_option
def add(name: str, role: str) -> None:
    """Add a user; from the first one on every request needs a key."""
    from shared.store import Store

    store = Store(configuration.load(None, os.environ).database_url)
    try:
        click.echo(f"added {store.users.add(name, role).name}; next: threadhouse keys create {name}")
    finally:
        store.close()
