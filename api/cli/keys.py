"""threadhouse keys: what users prove themselves with."""

from __future__ import annotations

import os

import click

from api.cli.options import home_option
from shared import config as configuration


@click.group()
def keys() -> None:
    """The keys of users."""


@keys.command()
@click.argument("name")
@click.option("--label", default="default", show_default=True, help="What this key is for.")
@home_option
def create(name: str, label: str) -> None:
    """Make a key for the user NAME and print it, as the last word, for the only time."""
    from shared.store import Store

    store = Store(configuration.load(None, os.environ).database_url)
    try:
        click.echo(f"key of {name}, shown once: {store.users.create_key(name, label)}")
    finally:
        store.close()
