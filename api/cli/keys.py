"""threadhouse keys: what users prove themselves with."""

from __future__ import annotations

import time

import click

from api.cli.host import duration, host_store, json_option, show
from api.cli.options import home_option


@click.group()
def keys() -> None:
    """The keys of users."""


@keys.command()
@click.argument("name")
@click.option("--label", default="default", show_default=True, help="What this key is for.")
@click.option(
    "--expires", callback=duration, metavar="90d", help="Until when it works: in days, h, m or s; else for good."
)
@home_option
def create(name: str, label: str, expires: int | None) -> None:
    """Make a key for the user NAME and print it, as the last word, for the only time."""
    from shared.store.audit import Act

    until_ms = None if expires is None else round(time.time() * 1000) + expires
    with host_store() as store:
        key = store.users.create_key(name, label, until_ms, act=Act.of_operator("keys create"))
    click.echo(f"key of {name}, shown once: {key}")


@keys.command("list")
@click.argument("name", required=False)
@json_option
@home_option
def list_(name: str | None, as_json: bool) -> None:
    """Show the keys of the user NAME, or of all: never their secrets. Last use is noted once a minute."""
    with host_store() as store:
        if name is not None:
            store.users.by_name(name)
        found = store.users.keys(name)
    rows = [
        {
            "id": one.id,
            "user": one.user.name,
            "label": one.name,
            "created_at_ms": one.created_at_ms,
            "expires_at_ms": one.expires_at_ms,
            "revoked_at_ms": one.revoked_at_ms,
            "last_used_at_ms": one.last_used_at_ms,
        }
        for one in found
    ]
    show(rows, as_json)


@keys.command()
@click.argument("key_id", metavar="ID")
@home_option
def revoke(key_id: str) -> None:
    """End the key ID (see `keys list`): it opens nothing more, and what it opened ends within a minute."""
    from shared.store.audit import Act

    with host_store() as store:
        store.users.revoke_key(key_id, act=Act.of_operator("keys revoke"))
    click.echo(f"revoked {key_id}")
