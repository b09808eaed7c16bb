"""threadhouse usage: the tokens that users have spent."""

from __future__ import annotations

import csv
import datetime
import sys

import click

from api.cli.host import host_store, json_option, show
from api.cli.options import home_option


@click.command()
@click.option(
    "--days", type=click.IntRange(1, 366), default=30, show_default=True, help="Days (UTC), the current one too."
)
@click.option("--user", "user_name", metavar="NAME", help="Only this user.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
@json_option
@home_option
def usage(days: int, user_name: str | None, as_csv: bool, as_json: bool) -> None:
    """Show the tokens, input and output, that each user has spent on each day."""
    first = (datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=days - 1)).isoformat()
    with host_store() as store:
        owner = store.users.get(user_name).id if user_name else None
        found = store.usage.all_users_days(first, owner=owner)
        names = {account.user.id: account.user.name for account in store.users.accounts()}
    named = sorted((day, names.get(user_id, user_id), tokens) for day, user_id, tokens in found)
    rows = [{"day": day, "user": name, "tokens": tokens} for day, name, tokens in named]
    if as_csv:
        writer = csv.DictWriter(sys.stdout, ("day", "user", "tokens"), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return
    show(rows, as_json)
