"""threadhouse webhooks: what webhooks were told, and what they did not take."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from api.cli.options import home_option
from shared import config as configuration

STATES = ("pending", "delivered", "dead")
ALL = "all"


@click.group()
def webhooks() -> None:
    """What webhooks were told, and what they did not take."""


@webhooks.command("list")
@click.option("--state", type=click.Choice([*STATES, ALL]), default="dead", show_default=True, help="Those in it only.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The newest ones.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@home_option
def list_(state: str, limit: int, as_json: bool) -> None:
    """List deliveries, newest first; without --state those that were given up."""
    from shared.store import Store

    store = Store(configuration.load(None, os.environ).database_url)
    try:
        found = store.outbox.list_webhooks(STATES if state == ALL else [state], limit)
    finally:
        store.close()
    for one in found:
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(one)))
            continue
        at = datetime.fromtimestamp(one.created_at_ms / 1000, UTC).isoformat(timespec="seconds")
        tried = f"{one.attempts} attempt{'' if one.attempts == 1 else 's'}"
        why = f": {one.error}" if one.error else ""
        click.echo(f"{one.id}  {at}  {one.state}  {one.event}  {one.target}  {tried}{why}")
    if not found and not as_json:
        click.echo("none" if state == ALL else f"none is {state}", err=True)


@webhooks.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@home_option
def replay(ids: Sequence[str]) -> None:
    """Send deliveries once more, each under the same webhook-id; a worker does that within seconds."""
    from shared.store import Store

    config = configuration.load(None, os.environ)
    store = Store(config.database_url, config.listeners)
    try:
        unknown = [one for one in ids if not store.outbox.replay(one)]
    finally:
        store.close()
    for one in ids:
        if one not in unknown:
            click.echo(f"{one} is sent again")
    if unknown:
        why = "no delivery to a webhook of config.toml has this id, or it is being sent right now"
        raise click.ClickException(f"{why}: {', '.join(unknown)}; see `threadhouse webhooks list --state all`")
