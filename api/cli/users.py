"""threadhouse users: who may use a server. The first user closes it to everybody without a key."""

from __future__ import annotations

import os
import shlex

import click

from api.cli.erasures import delete
from api.cli.host import host_store, json_option, show
from api.cli.options import home_option
from api.cli.user_limits import limits
from api.cli.worker import refuse_root
from shared import config as configuration
from shared.errors import ConfigError


@click.group()
def users() -> None:
    """The people who may use this server."""


users.add_command(limits)
users.add_command(delete)


@users.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["member", "admin"]), default="member", show_default=True)
@home_option
def add(name: str, role: str) -> None:
    """Add a user; from the first one on every request needs a key."""
    from shared.store.audit import Act

    with host_store() as store:
        added = store.users.add(name, role, act=Act.of_operator("users add"))
    click.echo(f"added {added.name}; next: threadhouse keys create {shlex.quote(name)}")
    try:
        refuse_root(configuration.load(None, os.environ))
    except ConfigError as error:
        click.echo(f"warning: {error}. Workers that run now go on, and do not start again.", err=True)


@users.command("list")
@json_option
@home_option
def list_(as_json: bool) -> None:
    """Show all users."""
    with host_store() as store:
        accounts = store.users.accounts()
    rows = [
        {
            "name": one.user.name,
            "role": one.user.role,
            "id": one.user.id,
            "created_at_ms": one.created_at_ms,
            "disabled_at_ms": one.disabled_at_ms,
        }
        for one in accounts
    ]
    show(rows, as_json)


@users.command()
@click.argument("name")
@click.option("--stop", is_flag=True, help="Interrupt their turns too, queued and running ones.")
@home_option
def disable(name: str, stop: bool) -> None:
    """Lock the user NAME out: keys and tokens stop working, open connections end within a minute.

    Turns that have begun go on to their end, unless told to --stop.
    """
    _set_disabled(name, True)
    if stop:
        click.echo(f"interrupted {_stop_turns(name)} turns")
    click.echo(f"disabled {name}; let them in again with: threadhouse users enable {name}")


@users.command()
@click.argument("name")
@home_option
def enable(name: str) -> None:
    """Let the user NAME in again, with the keys they have."""
    _set_disabled(name, False)
    click.echo(f"enabled {name}")


def _stop_turns(name: str) -> int:
    """Workers look with each renewal of their leases; the sweep tells of turns that nobody runs."""
    from shared.errors import InvalidRequest
    from shared.store.audit import Act

    stopped = 0
    with host_store() as store:
        user_id = store.users.by_name(name).id
        for turn in store.turns.active(user_id):
            try:
                store.turns.interrupt(turn.thread_id, user_id, turn.id, act=Act.of_operator("turn/interrupt"))
                stopped += 1
            except InvalidRequest:  # it ended by itself
                continue
    return stopped


def _set_disabled(name: str, disabled: bool) -> None:
    from shared.store.audit import Act

    act = Act.of_operator("users disable" if disabled else "users enable")
    with host_store() as store:
        store.users.set_disabled(store.users.by_name(name).id, disabled, act=act)
