"""threadhouse users limits: show and change the limits of one user; `[limits]` has the defaults."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from api.cli.host import host_store
from api.cli.options import home_option
from shared import config as configuration

DEFAULT = "default"
LIMITS = {  # column of the table user_limits → help text of its option
    "weight": "Share of the workers relative to other users, whose weight is 1 by default.",
    "turns_at_once": "Turns that may run at the same time.",
    "queued_turns": "Turns that may wait.",
    "requests_per_minute": "Requests per minute.",
    "connections": "Open WebSockets and event streams.",
    "threads": "Threads, including archived ones.",
    "stored_bytes": "Bytes that the threads may use in the database.",
    "tokens_per_day": "Tokens per day (UTC), input and output.",
    "tokens_per_month": "Tokens per calendar month (UTC), input and output.",
}


class Limit(click.ParamType[int | str, Any]):
    """An option value: an integer, or "default"."""

    name = f"N|{DEFAULT}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == DEFAULT:
            return DEFAULT
        least = 1 if param is not None and param.name == "weight" else 0
        if not str(value).isascii() or not str(value).isdigit() or not least <= int(value) < 1 << 63:
            self.fail(f"expected an integer of {least} or more, or {DEFAULT}")
        if least and int(value) > 1_000_000:
            self.fail("expected a weight of at most 1000000")
        return int(value)


def limit_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each limit, such as --turns-at-once N."""
    for name, text in reversed(LIMITS.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, type=Limit(), help=text)(command)
    return command


@click.command()
@click.argument("name", metavar="NAME")
@limit_options
@home_option
def limits(name: str, **asked: int | str | None) -> None:
    """Show the limits of the user NAME, or change those that are given.

    0 means no limit; "default" restores the value of [limits] in config.toml. A change takes effect within 10 seconds
    for requests and connections, and at the next step of a running turn.
    """
    from shared.store.audit import AuditEntry

    config = configuration.load(None, os.environ)
    with host_store() as store:
        user_id = store.users.get(name).id
        values = {key: None if value == DEFAULT else int(value) for key, value in asked.items() if value is not None}
        detail = ",".join(f"{key}={value}" for key, value in asked.items() if value is not None)
        audit_entry = AuditEntry.of_operator("users limits").with_detail(detail)
        own = store.limits.change(user_id, values, audit_entry=audit_entry) if values else store.limits.own(user_id)
        click.echo(f"{'weight':20} {own.get('weight', 1):>15}")
        for key in [key for key in LIMITS if key != "weight"]:
            value = own.get(key, getattr(config.limits, key))
            click.echo(f"{key:20} {value or 'no limit':>15}{'' if key in own else '   (default)'}")
        click.echo(f"{'used':20} {store.threads.stored_bytes(user_id):>15} bytes")
