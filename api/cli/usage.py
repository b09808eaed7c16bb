"""threadhouse usage: the tokens that users have spent, and what they cost."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator

import click

from api.cli.host import host_store, json_option, show, user_names
from api.cli.options import home_option
from shared import config as configuration

GROUPS = ("day", "user", "model")


@click.command()
@click.option("--from", "first", metavar="DAY", help="First day (UTC), such as 2026-12-31 (default: 30 days in all).")
@click.option("--to", "last", metavar="DAY", help="Last day (UTC) (default: today).")
@click.option("--by", multiple=True, type=click.Choice(GROUPS), help="Group by this; repeatable (default: by all).")
@click.option("--user", "user_name", metavar="NAME", help="Only this user.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
@json_option
@home_option
def usage(
    first: str | None, last: str | None, by: tuple[str, ...], user_name: str | None, as_csv: bool, as_json: bool
) -> None:
    """Show the tokens that users have spent by day, user and model, and what they cost by `[prices]`.

    cost is of the tokens whose model has a price, unpriced tokens are the others. A day before models were counted, or
    one on which a process of 0.1.0 counted, has tokens of the model (unknown). Tokens count on the day of their answer.
    """
    from shared.views import spending

    config = configuration.load(None, os.environ)
    first, last = spending.days(first, last)
    groups = [one for one in spending.GROUPS if one in by or not by]
    with host_store() as store:
        owner = store.users.get(user_name).id if user_name else None
        found = spending.group(store.usage.all_users_by_model(first, last, owner=owner), config.prices, groups)
        names = user_names(store)

    def rows() -> Iterator[dict[str, object]]:
        for one in found:
            group = {"day": one.day, "user": names.get(one.owner or "", one.owner), "model": one.model}
            yield {
                **{name: group[name] for name in groups},
                "tokens": one.tokens,
                "input_tokens": one.input,
                "cached_input_tokens": one.cached_input,
                "output_tokens": one.output,
                "cost": one.rounded_cost,
                "currency": config.prices.currency,
                "unpriced_tokens": one.unpriced_tokens,
            }

    listed = sorted(rows(), key=lambda row: [str(row[name]) for name in groups])
    if not as_csv:
        show(listed, as_json)
        return
    counts = ("tokens", "input_tokens", "cached_input_tokens", "output_tokens", "cost", "currency", "unpriced_tokens")
    writer = csv.DictWriter(sys.stdout, (*groups, *counts), lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
