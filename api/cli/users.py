"""threadhouse users: who may use a server. As soon as there is one user, every request needs an API key."""

from __future__ import annotations

import os
import shlex

import click

from api.cli.erasures import delete
from api.cli.host import database_name, host_store, json_option, show
from api.cli.options import home_option, same_home
from api.cli.user_limits import limits
from api.cli.worker import refuse_root
from shared import config as configuration
from shared.errors import ConfigError, InvalidParams


@click.group()
def users() -> None:
    """Add, list, limit, disable and delete users."""


users.add_command(limits)
users.add_command(delete)


@users.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--role",
    type=click.Choice(["member", "admin"]),
    default="member",
    show_default=True,
    help="Role of the user; admins may call the admin/ methods.",
)
@home_option
def add(name: str, role: str) -> None:
    """Add the user NAME. Once there is a user, every request needs an API key.

    NAME has 1 to 64 ASCII letters, digits and . _ - @ + and begins with a letter or digit.
    """
    from shared.store.audit import AuditEntry
    from shared.store.users import check_chosen_name

    try:
        check_chosen_name(name)
    except InvalidParams as error:
        raise click.BadParameter(str(error), param_hint="NAME") from None
    with host_store() as store:
        added = store.users.add(name, role, audit_entry=AuditEntry.of_operator("users add"))
    create_key = f"threadhouse keys create{same_home()} {shlex.quote(name)}"
    config = configuration.load(None, os.environ)
    click.echo(f"added {added.name} to {database_name(config)}; create an API key with: {create_key}")
    try:
        refuse_root(config)
    except ConfigError as error:
        click.echo(f"warning: {error}. Running workers continue, but do not start again.", err=True)


@users.command("list")
@json_option
@home_option
def list_(as_json: bool) -> None:
    """List all users."""
    with host_store() as store:
        accounts = store.users.accounts()
    rows = [
        {
            "name": account.user.name,
            "role": account.user.role,
            "id": account.user.id,
            "created_at_ms": account.created_at_ms,
            "disabled_at_ms": account.disabled_at_ms,
        }
        for account in accounts
    ]
    show(rows, as_json)


@users.command()
@click.argument("name", metavar="NAME")
@click.option("--stop", is_flag=True, help="Also interrupt the user's queued and running turns.")
@home_option
def disable(name: str, stop: bool) -> None:
    """Disable the user NAME. Open connections close within a minute.

    Keys and tokens of the user stop working. Turns that have started continue to their end, unless --stop is given.
    """
    _set_disabled(name, True)
    if stop:
        click.echo(f"interrupted {_stop_turns(name)} turns")
    click.echo(f"disabled {name}; undo it with: threadhouse users enable {shlex.quote(name)}")


@users.command()
@click.argument("name", metavar="NAME")
@home_option
def enable(name: str) -> None:
    """Enable the user NAME again, with the existing keys."""
    _set_disabled(name, False)
    click.echo(f"enabled {name}")


def _stop_turns(name: str) -> int:
    """Interrupt the queued and running turns of a user; return how many.

    Workers read the interrupt at the next renewal of their lease; the sweep publishes the end of unclaimed turns.
    """
    from shared.errors import InvalidRequest
    from shared.store.audit import AuditEntry

    stopped = 0
    with host_store() as store:
        user_id = store.users.get(name).id
        for turn in store.turns.active(user_id):
            try:
                store.turns.interrupt(
                    turn.thread_id, user_id, turn.id, audit_entry=AuditEntry.of_operator("turn/interrupt")
                )
                stopped += 1
            except InvalidRequest:  # it has ended meanwhile
                continue
    return stopped


def _set_disabled(name: str, disabled: bool) -> None:
    from shared.store.audit import AuditEntry

    audit_entry = AuditEntry.of_operator("users disable" if disabled else "users enable")
    with host_store() as store:
        store.users.set_disabled(store.users.get(name).id, disabled, audit_entry=audit_entry)
