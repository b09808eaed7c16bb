"""threadhouse keys: create, list and revoke the API keys of users."""

from __future__ import annotations

import click

from api.cli.host import duration, host_store, json_option, show
from api.cli.options import home_option
from shared.clock import now_ms


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.argument("name", metavar="NAME")
@click.option("--label", default="default", show_default=True, help="Name of the key in lists.")
@click.option(
    "--expires",
    callback=duration,
    metavar="90d",
    help="Time until the key expires: a number and d, h, m or s (default: never).",
)
@home_option
def create(name: str, label: str, expires: int | None) -> None:
    """Create an API key for NAME. It is shown once.

    The key is the last word of the output.
    """
    from shared.store.audit import AuditEntry

    until_ms = None if expires is None else now_ms() + expires
    with host_store() as store:
        key = store.users.create_key(name, label, until_ms, audit_entry=AuditEntry.of_operator("keys create"))
    click.echo(f"API key of {name}, shown once: {key}")


@keys.command("list")
@click.argument("name", metavar="[NAME]", required=False)
@json_option
@home_option
def list_(name: str | None, as_json: bool) -> None:
    """List the keys of NAME, or of all users, without their secrets.

    The time of the last use is exact to a minute.
    """
    with host_store() as store:
        if name is not None:
            store.users.get(name)
        found = store.users.keys(name)
    rows = [
        {
            "id": key.id,
            "user": key.user.name,
            "label": key.name,
            "created_at_ms": key.created_at_ms,
            "expires_at_ms": key.expires_at_ms,
            "revoked_at_ms": key.revoked_at_ms,
            "last_used_at_ms": key.last_used_at_ms,
        }
        for key in found
    ]
    show(rows, as_json)


@keys.command()
@click.argument("key_id", metavar="ID")
@home_option
def revoke(key_id: str) -> None:
    """Revoke the key ID. Open connections close within a minute."""
    from shared.store.audit import AuditEntry

    with host_store() as store:
        store.users.revoke_key(key_id, audit_entry=AuditEntry.of_operator("keys revoke"))
    click.echo(f"revoked {key_id}")
