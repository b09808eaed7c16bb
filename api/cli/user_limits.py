"""threadhouse users limits: what one user may do, beside the defaults of `[limits]`."""

from __future__ import annotations

import os
from typing import Any

import click

from api.cli.options import home_option
from shared import config as configuration
from shared.errors import ThreadhouseError

DEFAULT = "default"
WHAT = {
    "weight": "share of the workers, beside the others' weights (1 for everybody else)",
    "turns_at_once": "turns that run at the same time",
    "queued_turns": "turns that wait",
    "requests_per_minute": "requests a minute",
    "connections": "open WebSockets and event streams",
    "threads": "threads, archived ones too",
    "stored_bytes": "bytes that the threads hold in the database",
    "tokens_per_day": "tokens a day (UTC), input and output",
    "tokens_per_month": "tokens a calendar month (UTC)",
}


class Limit(click.ParamType[int | str, Any]):
    """An integer, or "default"."""

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


def limit_options(command: Any) -> Any:
    """--turns-at-once N and the like."""
    for name, what in reversed(WHAT.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, type=Limit(), help=f"{what}.")(command)
    return command


@click.command()
@click.argument("name")
@limit_options
@home_option
def limits(name: str, **asked: int | str | None) -> None:
    """Show what a user may do, or change it.

    0 is no limit, "default" goes back to [limits] of config.toml. Requests and connections obey within 10 seconds,
    running turns with their next step.
    """
    from shared.store import Store
    from shared.store.audit import Act

    config = configuration.load(None, os.environ)
    store = Store(config.database_url)
    try:
        user_id = store.users.by_name(name).id
        values = {key: None if value == DEFAULT else int(value) for key, value in asked.items() if value is not None}
        told = ",".join(f"{key}={value}" for key, value in asked.items() if value is not None)
        act = Act.of_operator("users limits").with_detail(told)
        own = store.limits.change(user_id, values, act=act) if values else store.limits.own(user_id)
        click.echo(f"{'weight':20} {own.get('weight', 1):>15}")
        for key in [key for key in WHAT if key != "weight"]:
            value = own.get(key, getattr(config.limits, key))
            click.echo(f"{key:20} {value or 'no limit':>15}{'' if key in own else '   (default)'}")
        click.echo(f"{'used':20} {store.threads.stored_bytes(user_id):>15} bytes")
    except ThreadhouseError as error:
        raise click.ClickException(str(error)) from None
    finally:
        store.close()
