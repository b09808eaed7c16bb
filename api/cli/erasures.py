"""threadhouse erasures and users delete: request an erasure, and show what was erased (its receipt)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import click
import orjson

from api.cli.host import host_store, json_option
from api.cli.host import show as show_rows
from api.cli.options import home_option

if TYPE_CHECKING:
    from shared.store.erasures import Erasure


@click.group()
def erasures() -> None:
    """Show erasures of deleted threads, deleted users and expired data."""


@erasures.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="Maximum number of entries.")
@click.option("--after", "after_id", metavar="ID", help="Start the list after this erasure.")
@json_option
@home_option
def list_(limit: int, after_id: str | None, as_json: bool) -> None:
    """List erasures, newest first."""
    with host_store() as store:
        found = store.erasures.all_users_page(after_id=after_id, limit=limit)
    show_rows([asdict(erasure) if as_json else _row(erasure) for erasure in found], as_json)


@erasures.command()
@click.argument("erasure_id", metavar="ID")
@home_option
def show(erasure_id: str) -> None:
    """Show the erasure ID and its receipt, as JSON."""
    with host_store() as store:
        erasure = store.erasures.all_users_find(erasure_id)
    if erasure is None:
        raise click.ClickException(f"no erasure {erasure_id}: see `threadhouse erasures list`")
    click.echo(orjson.dumps(asdict(erasure), option=orjson.OPT_INDENT_2).decode())


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@home_option
def delete(name: str, yes: bool) -> None:
    """Delete the user NAME with all threads, files, keys and feedback. It cannot be undone."""
    from shared.store.audit import AuditEntry

    if not yes:
        click.confirm(f"Delete {name} with all their threads, files, keys and feedback?", abort=True)
    with host_store() as store:
        erasure = store.erasures.erase_user(name, audit_entry=AuditEntry.of_operator("users delete"))
    click.echo(f"{name} is locked out, and a worker erases the data. Receipt: threadhouse erasures show {erasure.id}")


def _row(erasure: Erasure) -> Mapping[str, object]:
    receipt = ", ".join(f"{count} {name}" for name, count in sorted(erasure.receipt.items()))
    return {**asdict(erasure), "receipt": receipt}
