"""threadhouse webhooks: list deliveries to webhooks, and replay failed ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from api.cli.host import host_store, json_option
from api.cli.options import home_option

STATES = ("pending", "delivered", "dead")
ALL = "all"


@click.group()
def webhooks() -> None:
    """List and replay webhook deliveries."""


@webhooks.command("list")
@click.option(
    "--state",
    type=click.Choice([*STATES, ALL]),
    default="dead",
    show_default=True,
    help="List only deliveries in this state; dead: given up after all attempts.",
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Maximum number of entries.")
@json_option
@home_option
def list_(state: str, limit: int, as_json: bool) -> None:
    """List webhook deliveries, newest first."""
    with host_store() as store:
        found = store.outbox.list_webhooks(STATES if state == ALL else [state], limit)
    for delivery in found:
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(delivery)))
            continue
        at = datetime.fromtimestamp(delivery.created_at_ms / 1000, UTC).isoformat(timespec="seconds")
        attempts = f"{delivery.attempts} attempt{'' if delivery.attempts == 1 else 's'}"
        error = f": {delivery.error}" if delivery.error else ""
        click.echo(f"{delivery.id}  {at}  {delivery.state}  {delivery.event}  {delivery.target}  {attempts}{error}")
    if not found and not as_json:
        click.echo("no deliveries" if state == ALL else f"no {state} deliveries", err=True)


@webhooks.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@home_option
def replay(ids: Sequence[str]) -> None:
    """Replay the deliveries ID…. A worker sends each within seconds, with the same webhook-id."""
    from shared.store.audit import AuditEntry

    entry = AuditEntry.of_operator("webhooks replay")
    with host_store() as store:
        unknown = [delivery_id for delivery_id in ids if not store.outbox.replay(delivery_id, audit_entry=entry)]
    for delivery_id in ids:
        if delivery_id not in unknown:
            click.echo(f"{delivery_id} is queued again")
    if unknown:
        problem = "no delivery to a webhook of config.toml has this id, or it is being sent now"
        raise click.ClickException(f"{problem}: {', '.join(unknown)}; see `threadhouse webhooks list --state all`")
