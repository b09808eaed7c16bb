"""threadhouse users limits: show and change the limits of one user; `[limits]` has the defaults."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

from api.cli.host import host_store
from api.cli.options import home_option
from shared import config as configuration
from shared.errors import InvalidParams
from shared.views.user_limits import DEFAULT, LIMITS, WEIGHT, check_limit, shown_changes, user_limits


class Limit(click.ParamType[int | str, Any]):
    """An option value: an integer, or "default"."""

    name = f"N|{DEFAULT}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == DEFAULT:
            return DEFAULT
        if not str(value).isascii() or not str(value).removeprefix("-").isdigit():
            self.fail(f"expected an integer of 0 or more, or {DEFAULT}")
        try:
            check_limit(str(param.name if param else ""), int(value))
        except InvalidParams as error:
            self.fail(str(error))
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
        audit_entry = AuditEntry.of_operator("users limits").with_detail(shown_changes(values))
        own = store.limits.change(user_id, values, audit_entry=audit_entry) if values else store.limits.own(user_id)
        for limit in user_limits(own, config.limits):
            is_default = limit.own is None and limit.name != WEIGHT
            click.echo(f"{limit.name:20} {limit.value or 'no limit':>15}{'   (default)' if is_default else ''}")
        click.echo(f"{'used':20} {store.threads.stored_bytes(user_id):>15} bytes")
