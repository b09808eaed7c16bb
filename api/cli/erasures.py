"""threadhouse erasures, and users delete: what was asked to be gone, and receipts of what is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
import orjson

from api.cli.host import host_store, json_option
from api.cli.host import show as show_rows
from api.cli.options import home_option

if TYPE_CHECKING:
    from shared.store.erasures import Erasure


@click.group()
def erasures() -> None:
    """What was asked to be erased: deleted threads, deleted users, what grew too old."""


@erasures.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--after", "after_id", help="Go on behind this id.")
@json_option
@home_option
def list_(limit: int, after_id: str | None, as_json: bool) -> None:
    """List erasures, newest first."""
    with host_store() as store:
        found = store.erasures.all_users_page(after_id=after_id, limit=limit)
    show_rows([_shown(erasure) if as_json else _row(erasure) for erasure in found], as_json)


@erasures.command()
@click.argument("erasure_id")
@home_option
def show(erasure_id: str) -> None:
    """Show one erasure and its receipt, as JSON."""
    with host_store() as store:
        erasure = store.erasures.all_users_find(erasure_id)
    if erasure is None:
        raise click.ClickException(f"no erasure {erasure_id}; see: threadhouse erasures list")
    click.echo(orjson.dumps(_shown(erasure), option=orjson.OPT_INDENT_2).decode())


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@home_option
def delete(name: str, yes: bool) -> None:
    """Remove a user and all that is theirs: threads, files, keys, feedback. It cannot be undone."""
    from shared.store.audit import Act

    if not yes:
        click.confirm(f"Remove {name} and all threads, files, keys and feedback of theirs?", abort=True)
    with host_store() as store:
        erasure = store.erasures.begin_user(name, act=Act.of_operator("users delete"))
    click.echo(f"{name} is locked out; a worker removes the rest. Receipt: threadhouse erasures show {erasure.id}")


def _shown(erasure: Erasure) -> dict[str, Any]:
    return asdict(erasure)


def _row(erasure: Erasure) -> dict[str, Any]:
    receipt = ", ".join(f"{count} {name}" for name, count in sorted(erasure.receipt.items()))
    return {**_shown(erasure), "receipt": receipt}
